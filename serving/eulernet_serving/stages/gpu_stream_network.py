# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a GPU: crops the face of each frame and takes one step of EulerNet, in device memory.

Crop and network are one stage: Triton's Python backend passes device memory from one stage's process to another's
request by request, and the crops of a batch would leave it as single tensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eulernet_core.tensors import CHECKED, FACE, FACE_BOX, FRAME_COUNT, STATUS, STATUS_OUT, STREAM_MODEL
from eulernet_serving.gpu_pip.device_states import Slot
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.sequence_store import SequenceStore
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics
from eulernet_serving.stages.gpu_setup import (
    GpuNetworkSettings,
    answer_of,
    ends_with_its_gpu,
    golden_case,
    joined,
    make_cropper,
    make_network,
)
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, read
from eulernet_serving.stages.step_network import COUNTED, count_frames


@dataclass(frozen=True)
class GpuStreamParameters(GpuNetworkSettings, SequenceParameters):
    """`parameters` of this model's configuration."""


class GpuStreamNetwork(SequenceStage[Slot]):
    """CHECKED uint8 (1, bytes), FACE_BOX float32 (1, 4), STATUS int32 (1, 1) -> NETWORK_OUTPUTS."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the network and the decoder."""
        parameters = read_parameters(args["model_config"], GpuStreamParameters)
        self.network = make_network(args, parameters.precision, golden_case(args), parameters.max_sequences)
        self.crop = make_cropper(args, parameters)
        start = self.network.states.start
        self.keep_states(SequenceStore(lambda: start, parameters))
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL)
        self._liveness = LivenessMetrics(self.metrics, STREAM_MODEL)

    @ends_with_its_gpu
    def step(self, requests: Sequence[Any], states: Sequence[Slot]) -> list[tuple[Slot | None, Answer]]:
        """One frame each of several sequences."""
        encoded = [read(request, CHECKED).reshape(-1) for request in requests]
        boxes, status = joined(requests, FACE_BOX), joined(requests, STATUS)
        faces = self.crop(encoded, list(boxes), status.reshape(-1))
        after = [self.network.states.take() for _ in requests]
        results = self.network({FACE: faces, STATUS: status, FACE_BOX: boxes}, states, after)
        for i, request in enumerate(requests):
            count_frames(request, {name: results[name][i] for name in COUNTED}, self._frames, self._liveness)
        return [
            # Before its first usable frame a sequence's state is the initial one.
            (after[i] if results[FRAME_COUNT][i, 0] else None, answer_of(results, i, STATUS_OUT))
            for i in range(len(requests))
        ]
