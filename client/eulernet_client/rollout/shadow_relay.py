# SPDX-License-Identifier: Apache-2.0
"""A gRPC relay that answers every call from the stable version and sends copies of some clips to a candidate.

The copy is sent after the caller has its answer. A candidate that is slow, fails or is absent costs the caller nothing:
copies wait in a queue with a bound in bytes, and are dropped beyond it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import InferResult, service_pb2

from eulernet_client._connection import CHANNEL_ARGUMENTS, NO_PROXY, is_loopback
from eulernet_client._requests import clip_problem, parse_clip
from eulernet_client.errors import ResponseError
from eulernet_client.rollout.score_pairs import Answered, Pair
from eulernet_client.rollout.shadow_record import DROPPED, FAILED, INCOMPARABLE, ShadowRecord
from eulernet_core.tensors import CLIP_MODEL

SERVICE = "/inference.GRPCInferenceService/"
_INFER = f"{SERVICE}ModelInfer"
_OWN_HEADERS = ("grpc-", "user-agent", "content-type", "te")  # of each connection itself
_NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Headers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Target:
    """A version of the service: its gRPC address in plain text, and headers that its calls get."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def channel(self) -> grpc.aio.Channel:
        """A connection."""
        arguments: list[tuple[str, Any]] = [*CHANNEL_ARGUMENTS, *_NO_LIMIT]
        return grpc.aio.insecure_channel(self.url, [*arguments, NO_PROXY] if is_loopback(self.url) else arguments)

    def metadata(self, given: Sequence[tuple[str, str | bytes]]) -> Headers:
        """The caller's headers, with this version's own in place of equal names."""
        kept = [(key, value) for key, value in given if not key.startswith(_OWN_HEADERS) and key not in self.headers]
        return (*kept, *self.headers.items())


@dataclass(frozen=True)
class ShadowSettings:
    """Bounds of the copies.

    Attributes:
        share: of the clips that are copied, 0 to 1.
        timeout_s: for the candidate's answer.
        concurrency: copies under way at once.
        waiting_bytes: of the copies that wait or are under way; more are dropped.
    """

    share: float = 1.0
    timeout_s: float = 10.0
    concurrency: int = 2
    waiting_bytes: int = 64 << 20


@dataclass(frozen=True)
class _Copy:
    number: int
    request: bytes
    metadata: Headers
    answer: bytes
    seconds: float


class ShadowRelay:
    """Relays from `__aenter__` to `__aexit__`.

    Args:
        listen: address host:port, in plain text and without authentication; port 0 takes a free one.
        stable, candidate: the versions.
        record: receives what was compared.
        settings: bounds of the copies.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, listen: str, stable: Target, candidate: Target, record: ShadowRecord, settings: ShadowSettings
    ) -> None:
        self._listen, self._stable, self._candidate = listen, stable, candidate
        self._record, self._settings = record, settings
        self._copies: asyncio.Queue[_Copy] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._waiting_bytes = 0
        self.port = 0

    async def __aenter__(self) -> ShadowRelay:
        """Raises: OSError if the address can't be listened on."""
        self._to_stable, self._to_candidate = self._stable.channel(), self._candidate.channel()
        self._server = grpc.aio.server(options=[*_NO_LIMIT, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_EveryCall(self._relay),))
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise OSError(f"{self._listen}: can't be listened on; choose another --listen") from error
        await self._server.start()
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.concurrency)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lets calls in progress end, and drops the copies that wait."""
        await self._server.stop(grace=5.0)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.gather(self._to_stable.close(), self._to_candidate.close())

    async def settled(self) -> None:
        """Waits until every copy so far was compared."""
        await self._copies.join()

    async def _relay(self, method: str, request: bytes, context: Any) -> bytes:
        given = tuple((key, value) for key, value in context.invocation_metadata() or ())
        begun = time.monotonic()
        call = self._to_stable.unary_unary(method)(
            request, metadata=self._stable.metadata(given), timeout=context.time_remaining()
        )
        try:
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", error.trailing_metadata() or ())
        if method == _INFER and random.random() < self._settings.share:
            self._offer(request, given, answer, time.monotonic() - begun)
        return answer

    def _offer(self, request: bytes, given: Headers, answer: bytes, seconds: float) -> None:
        if not is_clip(request):
            return
        if self._waiting_bytes + len(request) > self._settings.waiting_bytes:
            self._record.count(DROPPED)
            return
        self._waiting_bytes += len(request)
        self._copies.put_nowait(_Copy(next(self._numbers), request, self._candidate.metadata(given), answer, seconds))

    async def _work(self) -> None:
        while True:
            copy = await self._copies.get()
            try:
                await self._compare(copy)
            finally:
                self._waiting_bytes -= len(copy.request)
                self._copies.task_done()

    async def _compare(self, copy: _Copy) -> None:
        begun = time.monotonic()
        try:
            answer = await self._to_candidate.unary_unary(_INFER)(
                copy.request, metadata=copy.metadata, timeout=self._settings.timeout_s
            )
        except grpc.aio.AioRpcError:
            self._record.count(FAILED)
            return
        seconds = time.monotonic() - begun
        try:
            stable, candidate = answered(copy.answer, copy.seconds), answered(answer, seconds)
        except (ResponseError, DecodeError):
            self._record.count(INCOMPARABLE)
            return
        self._record.add(Pair(f"call {copy.number}", stable, candidate))


class _EveryCall(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles each unary call as bytes."""

    def __init__(self, relay: Callable[[str, bytes, Any], Awaitable[bytes]]) -> None:
        self._relay = relay

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a method; None for one of another service."""
        method = call.method
        if not method.startswith(SERVICE):
            return None

        async def handle(request: bytes, context: Any) -> bytes:
            return await self._relay(method, request, context)

        return grpc.unary_unary_rpc_method_handler(handle)


def is_clip(request: bytes) -> bool:
    """Whether a ModelInferRequest names the clip model: its first field, as every usual client writes it."""
    name = CLIP_MODEL.encode()
    return request.startswith(bytes([0x0A, len(name)]) + name)


def answered(answer: bytes, seconds: float) -> Answered:
    """Liveness of a response of the clip model. Raises: ResponseError, DecodeError."""
    frames = parse_clip(InferResult(service_pb2.ModelInferResponse.FromString(answer)))
    problem = clip_problem("clip", frames)
    if isinstance(problem, ResponseError):
        raise problem
    error = type(problem).__name__ if problem else ""
    return Answered(None if problem else frames[-1].liveness, seconds, error=error)
