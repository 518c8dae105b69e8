# SPDX-License-Identifier: Apache-2.0
"""`antispoof_clip` in one stage on a CPU: locates, crops and scores the four frames of each clip."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import CLIP_MODEL, FACE, FACE_BOX, STATUS, STATUS_OUT
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.clip_locate import ClipLocate
from eulernet_serving.stages.clip_network import count_clips
from eulernet_serving.stages.frame_metrics import ClipMetrics, LivenessMetrics
from eulernet_serving.stages.located_crops import cropped
from eulernet_serving.stages.one_stage import OneStageSettings, ensemble_outputs, make_parts
from eulernet_serving.stages.stage import Answer, asked, respond


class ClipPipeline(ClipLocate):
    """ENCODED_0..3 uint8 (1, bytes) -> OUTPUTS, each with the dimensions (1, 4, ...)."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the networks and builds the decoder."""
        parameters = read_parameters(args["model_config"], OneStageSettings)
        self.parts = make_parts(args, parameters)
        self.begin(parameters, self.parts.detector)
        self._counts, self._liveness = ClipMetrics(self.metrics), LivenessMetrics(self.metrics, CLIP_MODEL)

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Several clips, inferred as one batch."""
        made = cropped(self.parts.crop, list(chain.from_iterable(self.located(requests))))
        inputs: dict[str, NDArray[Any]] = {FACE: made.faces, STATUS: made.status, FACE_BOX: made.boxes}
        clips = {name: value.reshape(-1, CLIP_FRAMES, *value.shape[1:]) for name, value in inputs.items()}
        results = self.parts.runtime(clips)
        answers = []
        for i, request in enumerate(requests):
            row = {name: value[i : i + 1] for name, value in results.items()}
            count_clips(request, row, self._counts, self._liveness)
            status = tuple(row[STATUS_OUT].reshape(-1).tolist())
            answers.append(Answer(respond(asked(request, ensemble_outputs(row))), status))
        return answers
