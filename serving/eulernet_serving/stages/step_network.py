# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a CPU: steps of EulerNet for frames of several sequences, in one batch.

The TensorRT backend keeps the filters' state as Triton's implicit state; here it is kept by correlation id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import (
    FRAME_COUNT,
    LIVENESS,
    NETWORK_OUTPUTS,
    STATE_INPUT_SUFFIX,
    STATE_OUTPUT_SUFFIX,
    STATUS_OUT,
    STREAM_MODEL,
)
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.row_runtime import RowRuntime
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.sequence_store import SequenceStore
from eulernet_serving.stages.frame_chunks import cropped_frames, joined, side_by_side
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics, is_counted
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, asked, graph_path, respond

COUNTED = (STATUS_OUT, FRAME_COUNT, LIVENESS)  # what `count_frames` reads
FilterState = Mapping[str, NDArray[Any]]  # by the names of the graph's state inputs


@dataclass(frozen=True)
class StateNames:
    """The step graph's state inputs by the outputs that feed them in the next step."""

    inputs: Mapping[str, str]

    @classmethod
    def of(cls, runtime: RowRuntime) -> "StateNames":
        """The names of a loaded step graph."""
        states = [name for name in runtime.input_names if name.endswith(STATE_INPUT_SUFFIX)]
        return cls({name.removesuffix(STATE_INPUT_SUFFIX) + STATE_OUTPUT_SUFFIX: name for name in states})

    def initial(self, runtime: RowRuntime) -> FilterState:
        """The state before a sequence's first usable frame."""
        return {name: runtime.zeros(name) for name in self.inputs.values()}

    def after(self, result: Mapping[str, NDArray[Any]]) -> FilterState:
        """The state after a step with this result."""
        return {name: result[output] for output, name in self.inputs.items()}


@dataclass(frozen=True)
class StepNetworkParameters(RuntimeSettings, SequenceParameters):
    """`parameters` of this model's configuration."""


class StepNetwork(SequenceStage[FilterState]):
    """FACE uint8 (1, F * 256, 256, 3), STATUS int32 (1, F), FACE_BOX float32 (1, F * 4) -> NETWORK_OUTPUTS of F frames,
    see `frame_chunks`."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the graph."""
        parameters = read_parameters(args["model_config"], StepNetworkParameters)
        self.network = StepRuntime(make_runtime(graph_path(args), parameters))
        initial = self.network.initial()
        self.keep_states(SequenceStore(lambda: initial, parameters))
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL)
        self._liveness = LivenessMetrics(self.metrics, STREAM_MODEL)

    def check(self, request: Any) -> None:
        """Checks that the inputs are of the same number of frames. Raises: MalformedRequestError."""
        cropped_frames(request)

    def step(self, requests: Sequence[Any], states: Sequence[FilterState]) -> list[tuple[FilterState | None, Answer]]:
        """A chunk of each of several sequences."""
        stepped: list[tuple[FilterState | None, Answer]] = []
        chunks = [cropped_frames(request) for request in requests]
        for request, (results, state) in zip(requests, self.network(chunks, states), strict=True):
            count_frames(request, results, self._frames, self._liveness)
            outputs = {name: results[name] for name in NETWORK_OUTPUTS}
            answer = Answer(respond(asked(request, outputs)), tuple(results[STATUS_OUT][0].tolist()))
            begun = bool(results[FRAME_COUNT][0, -1])  # before its first usable frame the state is the initial one
            stepped.append((state if begun else None, answer))
        return stepped


class StepRuntime:
    """A step graph that takes chunks of several sequences at once."""

    def __init__(self, runtime: RowRuntime) -> None:
        self._runtime = runtime
        self._names = StateNames.of(runtime)

    def initial(self) -> FilterState:
        """The state before a sequence's first usable frame."""
        return self._names.initial(self._runtime)

    def __call__(
        self, chunks: Sequence[Sequence[Mapping[str, NDArray[Any]]]], states: Sequence[FilterState]
    ) -> list[tuple[dict[str, NDArray[Any]], FilterState]]:
        """Advances each state by the frames of its chunk, given as NETWORK_INPUTS with the dimensions (1, ...).

        Returns: the outputs of each chunk, see `frame_chunks`, and its new state. The given states stay as they are.
        """
        after = list(states)

        def advance(frame: int, numbers: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
            results = self._runtime.rows([{**chunks[i][frame], **after[i]} for i in numbers])
            for i, result in zip(numbers, results, strict=True):
                after[i] = self._names.after(result)
            return [{name: result[name] for name in NETWORK_OUTPUTS} for result in results]

        results = side_by_side([len(chunk) for chunk in chunks], advance)
        return [(joined(frames), state) for frames, state in zip(results, after, strict=True)]


def count_frames(
    request: Any, results: Mapping[str, NDArray[Any]], frames: FrameMetrics, liveness: LivenessMetrics
) -> None:
    """Counts the frames of a request and their scores, given as COUNTED, unless it is a health probe's.

    A score counts once the filters have seen a clip's frames.
    """
    if not is_counted(request):
        return
    statuses, counts, scores = (results[name].reshape(-1).tolist() for name in COUNTED)
    frames.add(statuses)
    for status, count, score in zip(statuses, counts, scores, strict=True):
        if not status & NOT_SCORED and count >= CLIP_FRAMES:
            liveness.add(score)
