# SPDX-License-Identifier: Apache-2.0
"""Common code of the Python models: reading and answering requests, logging, and state by sequence."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from eulernet_core.limits import CALLER_HEADER, MAX_STREAMS
from eulernet_serving.draining import is_draining
from eulernet_serving.metric_catalog import BUSY, CALLER_FULL, DRAINING, SERVER_FULL
from eulernet_serving.sequence_store import SequenceLostError, SequenceStore, StoreLimits, TooManySequencesError
from eulernet_serving.stages.frame_metrics import is_counted
from eulernet_serving.stages.stage_metrics import StageMetrics
from eulernet_serving.stages.stream_metrics import StreamMetrics
from eulernet_serving.structured_logging import configure_stage_logging, log_caught

GAUGE_INTERVAL_S = 1.0  # how old a metric is at most
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
        self.name, self.instance = args["model_name"], args["model_instance_name"]
        self.metrics = StageMetrics(GAUGE_INTERVAL_S)
        self._begun_s: float | None = None  # of the current batch
        self.metrics.level(BUSY, self._busy_s, shared=False, model_instance=self.instance)
        self.set_up(args)
        self.metrics.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with one batch of requests; one response for each, in order. Never raises: an exception
        here would fail every request of the batch."""
        begun_s = self._begun_s = time.perf_counter()
        answers = self._answers(requests)
        self._begun_s = None
        if _LOG.isEnabledFor(logging.DEBUG):
            duration_ms = round(1000 * (time.perf_counter() - begun_s), 3)
            for request, answer in zip(requests, answers, strict=True):
                fields = {"model": self.name, "duration_ms": duration_ms, "batch": len(requests)}
                _LOG.debug("answered", extra={**fields, "sequence": request.correlation_id(), "status": answer.status})
        return [answer.response for answer in answers]

    def _busy_s(self) -> float:
        """For how long the current batch has been running, in whole seconds: most batches are never seen."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else float(int(time.perf_counter() - begun_s))

    def _answers(self, requests: Sequence[Any]) -> list[Answer]:
        try:
            return self.answer(requests)
        except Exception as error:
            if len(requests) > 1:
                log_caught(_LOG, "batch failed, its requests are answered one by one", error, model=self.name)
                return [self._answers([request])[0] for request in requests]
            log_caught(_LOG, "request failed", error, model=self.name, sequence=requests[0].correlation_id())
            # The request is in order: another server can answer it.
            return [refusal(f"{self.name}: {type(error).__name__}: {error}", pb_utils.TritonError.UNAVAILABLE)]

    def finalize(self) -> None:
        """Called once by Triton, at the end."""
        self.metrics.stop()

    def set_up(self, args: Mapping[str, str]) -> None:
        """Reads the model's parameters and loads whatever the model needs."""
        raise NotImplementedError

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Answers one batch of requests, in order. Until it returns it must leave the model's state as it was: after
        an exception the requests are answered one by one."""
        raise NotImplementedError


@dataclass(frozen=True)
class SequenceParameters(StoreLimits):
    """Bounds of the kept sequences, as parameters of a model."""

    max_sequences: int = MAX_STREAMS
    max_sequences_per_caller: int = 0
    max_idle_s: float = 30.0

    def of_instance(self, instances: int) -> StoreLimits:
        """The bounds of one of a model's instances; Triton deals new sequences to them in turn."""
        return StoreLimits(
            -(-self.max_sequences // instances), -(-self.max_sequences_per_caller // instances), self.max_idle_s
        )


class SequenceStage(Stage, Generic[State]):
    """A model with state by correlation id. A subclass calls `keep_states` and advances states in `step`.

    `admits`: whether new sequences are counted by caller, and refused while the server drains.
    """

    admits = False

    def keep_states(self, states: SequenceStore[State]) -> None:
        """Takes the store, and shows its size as a metric."""
        self.states = states
        self._streams = StreamMetrics(self.metrics, self.name, states, self.instance if self.admits else "")

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """A chunk of each of several sequences; one that is refused gets an error and harms no other."""
        answers: list[Answer | None] = [None] * len(requests)
        batch: list[int] = []
        states: list[State] = []
        callers = [self._caller(request) for request in requests]
        for i, request in enumerate(requests):
            try:
                self.check(request)
                states.append(self._take(request, callers[i]))
                batch.append(i)
            except MalformedRequestError as error:
                answers[i] = refusal(f"{self.name}: {error}", pb_utils.TritonError.INVALID_ARG)
            except (SequenceLostError, TooManySequencesError, _DrainingError) as error:
                log_caught(_LOG, "frame refused", error, model=self.name, sequence=request.correlation_id())
                answers[i] = refusal(str(error), self._counted(error, request))
        if batch:
            stepped = self.step([requests[i] for i in batch], states)
            for i, (state, answer) in zip(batch, stepped, strict=True):
                start, end = (bool(requests[i].flags() & flag) for flag in (START, END))
                self.states.put(requests[i].correlation_id(), state, start, end, callers[i])
                if start and is_counted(requests[i]):
                    self._streams.admitted(requests[i].correlation_id())
                answers[i] = answer
        return [answer for answer in answers if answer is not None]

    def _counted(self, error: Exception, request: Any) -> int:
        """The error's code of pb_utils.TritonError."""
        if isinstance(error, SequenceLostError):
            self._streams.lost(request.correlation_id())
            return int(pb_utils.TritonError.INVALID_ARG)
        reason = DRAINING
        if isinstance(error, TooManySequencesError):
            reason = CALLER_FULL if error.of_caller else SERVER_FULL
        if is_counted(request):
            self._streams.refused(reason, request.correlation_id())
        return int(pb_utils.TritonError.UNAVAILABLE)

    def check(self, request: Any) -> None:
        """Checks the shapes that a request may choose. Raises: MalformedRequestError."""

    def step(self, requests: Sequence[Any], states: Sequence[State]) -> list[tuple[State | None, Answer]]:
        """Advances each state by its request's frames, and leaves the given states as they are.

        Returns: the new state, None while a sequence had no usable frame, and the answer of each.
        """
        raise NotImplementedError

    def _take(self, request: Any, caller: str) -> State:
        start = bool(request.flags() & START)
        if start and self.admits and is_draining():
            raise _DrainingError("this server is draining and takes no new streams; try another one")
        return self.states.take(request.correlation_id(), start, caller)

    def _caller(self, request: Any) -> str:
        """The caller that a gateway names in a header, "" without one; see --grpc-header-forward-pattern."""
        if not self.admits or not request.flags() & START:
            return ""
        return str(json.loads(request.parameters() or "{}").get(CALLER_HEADER, ""))


class MalformedRequestError(Exception):
    """A request's tensors do not fit together; the message names the tensor and what it should be."""


class _DrainingError(Exception):
    """A sequence begins while the server drains."""


def refusal(message: str, code: int) -> Answer:
    """An error for one request; `code`: of pb_utils.TritonError."""
    return Answer(pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)))


def read(request: Any, name: str) -> NDArray[Any]:
    """An input of a request, batch dimension included."""
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def asked(request: Any, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs that a request names: another one would be copied and then dropped."""
    return {name: outputs[name] for name in request.requested_output_names()}


def respond(outputs: Mapping[str, NDArray[Any]]) -> Any:
    """A response of arrays with the batch dimension."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, np.ascontiguousarray(v)) for n, v in outputs.items()])


def graph_path(args: Mapping[str, str]) -> Path:
    """The ONNX file of the model's version."""
    return Path(args["model_repository"]) / args["model_version"] / "model.onnx"
