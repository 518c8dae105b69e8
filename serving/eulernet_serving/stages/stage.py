# SPDX-License-Identifier: Apache-2.0
"""Common code of the Python models: reading and answering requests, logging, and state by sequence."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from eulernet_serving.sequence_store import SequenceLostError, SequenceStore
from eulernet_serving.stages.sequence_gauge import open_sequences_gauge
from eulernet_serving.structured_logging import configure_stage_logging, log_caught

START, END = 1, 2  # TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, _END
_LOG = logging.getLogger(__name__)
State = TypeVar("State")


@dataclass(frozen=True)
class Answer:
    """A response and, for the log, the STATUS of its frames."""

    response: Any
    status: tuple[int, ...] = ()


class Stage:
    """A Python model. A subclass sets itself up in `set_up` and answers a batch of requests in `answer`."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called once by Triton."""
        configure_stage_logging()
        self.name = args["model_name"]
        self.set_up(args)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with one batch of requests; one response for each, in order."""
        begun_s = time.perf_counter()
        answers = self.answer(requests)
        if _LOG.isEnabledFor(logging.DEBUG):
            duration_ms = round(1000 * (time.perf_counter() - begun_s), 3)
            for request, answer in zip(requests, answers, strict=True):
                fields = {"model": self.name, "duration_ms": duration_ms, "batch": len(requests)}
                _LOG.debug("answered", extra={**fields, "sequence": request.correlation_id(), "status": answer.status})
        return [answer.response for answer in answers]

    def set_up(self, args: Mapping[str, str]) -> None:
        """Reads the model's parameters and loads whatever the model needs."""
        raise NotImplementedError

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Answers one batch of requests, in order."""
        raise NotImplementedError


@dataclass(frozen=True)
class SequenceParameters:
    """Bounds of the kept states: `max_sequences` of them, each dropped after `max_idle_s` without a frame."""

    max_sequences: int = 1024  # most states kept; the least recently used one is dropped first
    max_idle_s: float = 60.0  # seconds without a frame after which a state is dropped


class SequenceStage(Stage, Generic[State]):
    """A model with state by correlation id. A subclass calls `keep_states` and advances states in `step`."""

    def keep_states(self, states: SequenceStore[State]) -> None:
        """Takes the store, and shows its size as a metric."""
        self.states = states
        self._gauge_family, self._gauge = open_sequences_gauge(self.name)

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """One frame each of several sequences; a frame of an unknown sequence gets an error and harms no other."""
        answers: list[Answer | None] = [None] * len(requests)
        batch: list[int] = []
        states: list[State] = []
        for i, request in enumerate(requests):
            sequence = request.correlation_id()
            try:
                states.append(self.states.take(sequence, bool(request.flags() & START)))
                batch.append(i)
            except SequenceLostError as error:
                log_caught(_LOG, "frame refused", error, model=self.name, sequence=sequence)
                answers[i] = Answer(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
        if batch:
            stepped = self.step([requests[i] for i in batch], states)
            for i, (state, answer) in zip(batch, stepped, strict=True):
                self.states.put(requests[i].correlation_id(), state, bool(requests[i].flags() & END))
                answers[i] = answer
        self._gauge.set(len(self.states))
        return [answer for answer in answers if answer is not None]

    def step(self, requests: Sequence[Any], states: Sequence[State]) -> list[tuple[State, Answer]]:
        """Advances each state by its request's frame. Returns the new state and the answer of each."""
        raise NotImplementedError


def read(request: Any, name: str) -> NDArray[Any]:
    """An input of a request, batch dimension included."""
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def respond(outputs: Mapping[str, NDArray[Any]]) -> Any:
    """A response of arrays with the batch dimension."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, np.ascontiguousarray(v)) for n, v in outputs.items()])


def graph_path(args: Mapping[str, str]) -> Path:
    """The ONNX file of the model's version."""
    return Path(args["model_repository"]) / args["model_version"] / "model.onnx"
