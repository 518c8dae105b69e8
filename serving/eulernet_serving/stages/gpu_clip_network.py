# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof_clip` on a GPU: crops the faces of each clip and infers EulerNet, in device memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import CLIP_CHECKED, CLIP_MODEL, FACE, FACE_BOX, STATUS, STATUS_OUT
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.clip_network import ClipNetwork
from eulernet_serving.stages.frame_metrics import ClipMetrics, LivenessMetrics
from eulernet_serving.stages.gpu_setup import (
    GpuNetworkSettings,
    answer_of,
    ends_with_its_gpu,
    golden_case,
    joined,
    make_cropper,
    make_network,
)
from eulernet_serving.stages.stage import Answer, read


class GpuClipNetwork(ClipNetwork):
    """CHECKED_0..3 uint8 (1, bytes), FACE_BOX float32 (1, 4, 4), STATUS int32 (1, 4) -> NETWORK_OUTPUTS."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the network and the decoder."""
        parameters = read_parameters(args["model_config"], GpuNetworkSettings)
        self.network = make_network(args, parameters.precision, golden_case(args))
        self.crop = make_cropper(args, parameters)
        self._clips, self._liveness = ClipMetrics(self.metrics), LivenessMetrics(self.metrics, CLIP_MODEL)

    @ends_with_its_gpu
    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Several clips, as one batch."""
        encoded = [read(request, name).reshape(-1) for request in requests for name in CLIP_CHECKED]
        boxes, status = joined(requests, FACE_BOX), joined(requests, STATUS)
        faces = self.crop(encoded, list(boxes.reshape(-1, 4)), status.reshape(-1))
        clips = faces.reshape(len(requests), CLIP_FRAMES, *faces.shape[1:])
        results = self.network({FACE: clips, STATUS: status, FACE_BOX: boxes})
        for i, request in enumerate(requests):
            self.inferred(request, {name: value[i : i + 1] for name, value in results.items()})
        return [answer_of(results, i, STATUS_OUT) for i in range(len(requests))]
