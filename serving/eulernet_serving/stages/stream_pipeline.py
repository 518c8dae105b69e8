# SPDX-License-Identifier: Apache-2.0
"""`antispoof` in one stage on a CPU: locates, crops and scores one frame each of several sequences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import ENCODED, FACE, FACE_BOX, LIVENESS, STATUS, STATUS_OUT, STREAM_MODEL
from eulernet_serving.core_shares import OPENCV_THREADS
from eulernet_serving.face_locating import Locator, Lock
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.sequence_store import SequenceStore
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics
from eulernet_serving.stages.located_crops import cropped
from eulernet_serving.stages.one_stage import OneStageSettings, ensemble_outputs, instances_of, make_parts
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, asked, read, respond
from eulernet_serving.stages.step_network import FilterState, StateNames, count_frames


@dataclass(frozen=True)
class StreamPipelineParameters(OneStageSettings, SequenceParameters):
    """`parameters` of this model's configuration."""


@dataclass(frozen=True)
class StreamState:
    """The face's box and the filters' state of one sequence."""

    filters: FilterState
    lock: Lock = field(default_factory=Lock)


class StreamPipeline(SequenceStage[StreamState]):
    """ENCODED uint8 (1, bytes) -> OUTPUTS, each with the dimensions (1, ...)."""

    admits = True

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the networks and builds the decoder."""
        cv2.setNumThreads(OPENCV_THREADS)
        parameters = read_parameters(args["model_config"], StreamPipelineParameters)
        self.parts = make_parts(args, parameters)
        self.locate = Locator(parameters, self.parts.detector)
        self.names = StateNames.of(self.parts.runtime)
        initial = self.names.initial(self.parts.runtime)
        self.keep_states(SequenceStore(lambda: StreamState(initial), parameters.of_instance(instances_of(args))))
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL)
        self._liveness = LivenessMetrics(self.metrics, STREAM_MODEL)

    def step(self, requests: Sequence[Any], states: Sequence[StreamState]) -> list[tuple[StreamState | None, Answer]]:
        """One frame each of several sequences."""
        locks = [replace(state.lock) for state in states]
        made = cropped(self.parts.crop, self.locate([read(each, ENCODED).reshape(-1) for each in requests], locks))
        inputs: dict[str, NDArray[Any]] = {FACE: made.faces, STATUS: made.status[:, None], FACE_BOX: made.boxes}
        rows = [
            {name: value[i : i + 1] for name, value in inputs.items()} | dict(state.filters)
            for i, state in enumerate(states)
        ]
        results = self.parts.runtime.rows(rows)
        counted = {name: np.concatenate([each[name] for each in results]) for name in (STATUS_OUT, LIVENESS)}
        count_frames(requests, counted, self._frames, self._liveness)
        stepped: list[tuple[StreamState | None, Answer]] = []
        for request, result, lock in zip(requests, results, locks, strict=True):
            state = StreamState(self.names.after(result), lock)
            status = tuple(result[STATUS_OUT].reshape(-1).tolist())
            answer = Answer(respond(asked(request, ensemble_outputs(result))), status)
            stepped.append((state if lock.ever_found else None, answer))
        return stepped
