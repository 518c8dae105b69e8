# SPDX-License-Identifier: Apache-2.0
"""`antispoof` in one stage on a CPU: locates, crops and scores frames of several sequences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import cv2

from eulernet_core.tensors import STATUS_OUT, STREAM_MODEL
from eulernet_serving.core_shares import OPENCV_THREADS
from eulernet_serving.face_locating import Locator, Lock
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.sequence_store import SequenceStore
from eulernet_serving.stages.frame_chunks import encoded_frames
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics
from eulernet_serving.stages.located_crops import cropped
from eulernet_serving.stages.one_stage import OneStageSettings, ensemble_outputs, instances_of, make_parts
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, asked, respond
from eulernet_serving.stages.step_network import FilterState, StepRuntime, count_frames
from eulernet_serving.stages.stream_locate import located_chunks


@dataclass(frozen=True)
class StreamPipelineParameters(OneStageSettings, SequenceParameters):
    """`parameters` of this model's configuration."""


@dataclass(frozen=True)
class StreamState:
    """The face's box and the filters' state of one sequence."""

    filters: FilterState
    lock: Lock = field(default_factory=Lock)


class StreamPipeline(SequenceStage[StreamState]):
    """ENCODED uint8 (1, bytes), FRAME_BYTES int32 (1, F) or none -> OUTPUTS of F frames, see `frame_chunks`."""

    admits = True

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the networks and builds the decoder."""
        cv2.setNumThreads(OPENCV_THREADS)
        parameters = read_parameters(args["model_config"], StreamPipelineParameters)
        parts = make_parts(args, parameters)
        self.crop = parts.crop
        self.locate = Locator(parameters, parts.detector)
        self.network = StepRuntime(parts.runtime)
        initial = self.network.initial()
        self.keep_states(SequenceStore(lambda: StreamState(initial), parameters.of_instance(instances_of(args))))
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL)
        self._liveness = LivenessMetrics(self.metrics, STREAM_MODEL)

    def check(self, request: Any) -> None:
        """Checks the frames' lengths. Raises: MalformedRequestError."""
        encoded_frames(request)

    def step(self, requests: Sequence[Any], states: Sequence[StreamState]) -> list[tuple[StreamState | None, Answer]]:
        """A chunk of each of several sequences."""
        locks = [replace(state.lock) for state in states]
        located = located_chunks(self.locate, requests, locks)
        frames = cropped(self.crop, list(chain.from_iterable(located))).frames()
        chunks = [list(islice(frames, len(chunk))) for chunk in located]
        stepped: list[tuple[StreamState | None, Answer]] = []
        after = self.network(chunks, [state.filters for state in states])
        for request, (results, filters), lock in zip(requests, after, locks, strict=True):
            count_frames(request, results, self._frames, self._liveness)
            status = tuple(results[STATUS_OUT].reshape(-1).tolist())
            answer = Answer(respond(asked(request, ensemble_outputs(results))), status)
            stepped.append((StreamState(filters, lock) if lock.ever_found else None, answer))
        return stepped
