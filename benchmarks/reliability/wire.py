# SPDX-License-Identifier: Apache-2.0
"""Raw requests to the server (KServe's gRPC protocol, as Triton extends it), and how their answers are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from eulernet_core.limits import CALLER_HEADER
from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, ENCODED, FRAME_BYTES, LIVENESS, STATUS, STREAM_MODEL

HANG_S = 10.0  # a request without an answer for so long is a hang
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)
KNOWN_STATUS = int(sum(Status))
_DTYPES = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32", "int64": "INT64"}
Request = Any  # service_pb2.ModelInferRequest
SequenceId = int | str


@dataclass(frozen=True)
class Outcome:
    """What an input led to. `label`: its kind, for counting; `fault`: what the server did wrong; None: nothing."""

    label: str
    fault: str | None = None


@dataclass(frozen=True)
class Endpoints:
    """Ports of the server. `url`: host:port of gRPC; `health`: 0 where there is none."""

    url: str
    metrics: int
    health: int = 0


class Wire(AbstractContextManager["Wire"]):
    """A connection of one worker; open between `__enter__` and `__exit__`."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.channel = grpc.insecure_channel(endpoints.url, options=CHANNEL_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def infer(self, request: Request, timeout_s: float = HANG_S, caller: str | None = None) -> Any:
        """The answer. Raises: grpc.RpcError. `caller`: header that a gateway sets."""
        metadata = ((CALLER_HEADER, caller),) if caller is not None else None
        return self.stub.ModelInfer(request, timeout=timeout_s, metadata=metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


def request_of(model: str, inputs: Mapping[str, NDArray[Any]]) -> Request:
    """A valid request of these tensors."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, value in inputs.items():
        request.inputs.add(name=name, datatype=_DTYPES[value.dtype.name], shape=value.shape)
        request.raw_input_contents.append(np.ascontiguousarray(value).tobytes())
    return request


def clip_request(frames: Sequence[bytes]) -> Request:
    """Four JPEGs."""
    return request_of(CLIP_MODEL, {name: _bytes(each) for name, each in zip(CLIP_ENCODED, frames, strict=True)})


def frame_request(frame: bytes, sequence_id: SequenceId, start: bool = False, end: bool = False) -> Request:
    """One JPEG of a stream."""
    return in_sequence(request_of(STREAM_MODEL, {ENCODED: _bytes(frame)}), sequence_id, start, end)


def chunk_request(frames: Sequence[bytes], lengths: Sequence[int], sequence_id: SequenceId) -> Request:
    """A whole stream in one request, with these numbers as the lengths of its JPEGs."""
    inputs: dict[str, NDArray[Any]] = {ENCODED: _bytes(b"".join(frames)), FRAME_BYTES: np.array([lengths], np.int32)}
    return in_sequence(request_of(STREAM_MODEL, inputs), sequence_id, start=True, end=True)


def in_sequence(request: Request, sequence_id: SequenceId, start: bool, end: bool) -> Request:
    """Adds the parameters of a sequence."""
    if isinstance(sequence_id, str):
        request.parameters["sequence_id"].string_param = sequence_id
    elif sequence_id >= 1 << 63:
        request.parameters["sequence_id"].uint64_param = sequence_id
    else:
        request.parameters["sequence_id"].int64_param = sequence_id
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def _bytes(frame: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(frame, np.uint8)[None]


def tensors(response: Any) -> dict[str, NDArray[Any]]:
    """The outputs of an answer, by name."""
    dtypes = {short: name for name, short in _DTYPES.items()}
    return {
        each.name: np.frombuffer(raw, dtypes[each.datatype]).reshape(each.shape)
        for each, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        if each.datatype in dtypes
    }


def judged(call: Callable[[], Any], *, may_fail: bool, check: Callable[[Any], Outcome] | None = None) -> Outcome:
    """Calls and judges.

    Args:
        call: sends a request.
        may_fail: whether the server may refuse it; no request may stay without an answer.
        check: judges an answer.
    """
    try:
        answer = call()
    except grpc.RpcError as error:
        code = error.code().name if error.code() else "no code"
        text = " ".join(str(error.details()).split())[:300]
        if code == "DEADLINE_EXCEEDED":
            return Outcome("no answer", f"no answer in {HANG_S:g} s")
        return Outcome(code, None if may_fail else f"{code}: {text}")
    return check(answer) if check else Outcome("answered")


def judge_frames(response: Any) -> Outcome:
    """An answer of one of the ensembles: known flags, finite numbers, no score without a usable frame."""
    found = tensors(response)
    status = found[STATUS].reshape(-1)
    label = "STATUS " + " ".join(sorted({Status(int(each)).label for each in status}))
    if (status & ~KNOWN_STATUS).any():
        return Outcome(label, f"unknown STATUS {status.tolist()}")
    if not all(np.isfinite(value).all() for value in found.values()):
        return Outcome(label, "a number that is not finite")
    unusable = np.array([not Status(int(each)).usable for each in status])
    if found[LIVENESS].reshape(-1)[unusable].any():
        return Outcome(label, "a score of a frame that is not usable")
    return Outcome(label)
