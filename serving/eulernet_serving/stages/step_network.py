# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a CPU: one step of EulerNet for one frame each of several sequences, in one batch.

The TensorRT backend keeps the filters' state as Triton's implicit state; here it is kept by correlation id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import (
    FRAME_COUNT,
    LIVENESS,
    NETWORK_INPUTS,
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
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics, is_counted
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, asked, graph_path, read, respond

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
    """FACE uint8 (1, 256, 256, 3), STATUS int32 (1, 1), FACE_BOX float32 (1, 4) -> NETWORK_OUTPUTS."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the graph."""
        parameters = read_parameters(args["model_config"], StepNetworkParameters)
        self.runtime = make_runtime(graph_path(args), parameters)
        self.names = StateNames.of(self.runtime)
        initial = self.names.initial(self.runtime)
        self.keep_states(SequenceStore(lambda: initial, parameters))
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL)
        self._liveness = LivenessMetrics(self.metrics, STREAM_MODEL)

    def step(self, requests: Sequence[Any], states: Sequence[FilterState]) -> list[tuple[FilterState | None, Answer]]:
        """One frame each of several sequences."""
        rows = [
            {name: read(request, name) for name in NETWORK_INPUTS} | dict(state)
            for request, state in zip(requests, states, strict=True)
        ]
        results = self.runtime.rows(rows)
        counted = {name: np.concatenate([each[name] for each in results]) for name in (STATUS_OUT, LIVENESS)}
        count_frames(requests, counted, self._frames, self._liveness)
        stepped: list[tuple[FilterState | None, Answer]] = []
        for request, result in zip(requests, results, strict=True):
            state = self.names.after(result)
            outputs = {name: result[name] for name in NETWORK_OUTPUTS}
            answer = Answer(respond(asked(request, outputs)), tuple(result[STATUS_OUT][0].tolist()))
            begun = bool(result[FRAME_COUNT][0, 0])  # before its first usable frame the state is the initial one
            stepped.append((state if begun else None, answer))
        return stepped


def count_frames(
    requests: Sequence[Any], results: Mapping[str, NDArray[Any]], frames: FrameMetrics, liveness: LivenessMetrics
) -> None:
    """Counts the frames of a batch and their scores, without those of health probes."""
    for request, (status,), (score,) in zip(
        requests, results[STATUS_OUT].tolist(), results[LIVENESS].tolist(), strict=True
    ):
        if not is_counted(request):
            continue
        frames.add((status,))
        if not status & NOT_SCORED:
            liveness.add(score)
