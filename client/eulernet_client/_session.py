# SPDX-License-Identifier: Apache-2.0
"""The logic of the clients, written once as coroutines over `Channels`, which do all input and output.

The asyncio client awaits the coroutines. The blocking client runs them with `run_blocking`: its channels block instead
of suspending, so that a coroutine runs to its end in one step, without an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tenacity import AsyncRetrying
from tritonclient.utils import InferenceServerException

from eulernet_client._requests import (
    Answer,
    Call,
    SourceScores,
    StreamState,
    clip_call,
    frames_as_clip,
    weights_label,
)
from eulernet_client._result import FrameResult, VideoResult
from eulernet_client._transport import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    END_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Attempts,
    Connection,
    Endpoints,
    Tls,
    log,
    log_failure,
)
from eulernet_client.errors import RequestRefusedError, ServerError, ServerUnavailableError
from eulernet_client.sources import SourceClip, iter_clips
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import WEIGHTS_UNKNOWN

T = TypeVar("T")


class Channels(Protocol):
    """Connections to the servers, the clock and the disk."""

    async def call(self, endpoint: int, method: str, arguments: Mapping[str, Any]) -> Any:
        """Calls a method of tritonclient's InferenceServerClient. Raises: InferenceServerException."""

    async def sleep(self, seconds: float) -> None:
        """Pauses."""

    async def next_clip(self, clips: Iterator[SourceClip]) -> SourceClip | None:
        """Reads the next clip; None at the end."""


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking channel suspended")


class Session:
    """Scores clips and asks servers over `channels`."""

    def __init__(self, connection: Connection, channels: Channels) -> None:
        self.connection, self.channels = connection, channels
        self._endpoints = Endpoints(connection.urls)
        self._weights: str | None = None

    async def score(self, path: str | Path, clips: int, keep_jpegs: bool) -> VideoResult:
        """See Client.score."""
        scores = SourceScores(str(path), keep_jpegs=keep_jpegs)
        reader = iter_clips(path, clips)
        while (clip := await self.channels.next_clip(reader)) is not None:
            scores.add(clip, await self.attempt(clip_call(clip.jpegs)))
        return await self._result(scores)

    async def score_frames(self, jpegs: Sequence[bytes], name: str, keep_jpegs: bool) -> VideoResult:
        """See Client.score_frames."""
        scores = SourceScores(name, keep_jpegs=keep_jpegs)
        scores.add(frames_as_clip(jpegs), await self.attempt(clip_call(jpegs)))
        return await self._result(scores)

    async def weights(self) -> str:
        """See Client.weights."""
        if self._weights is None:
            try:
                self._weights = weights_label(await self._query("get_model_config", CLIP_MODEL))
            except RequestRefusedError:
                self._weights = WEIGHTS_UNKNOWN
            except ServerError:
                return WEIGHTS_UNKNOWN
        return self._weights

    async def weights_of(self, endpoint: int) -> str:
        """Label of one server's weights; "unknown" if it does not report it.

        Raises:
            ServerError: it does not answer, or its model is still loading.
        """
        try:
            if not await self._ask(endpoint, "is_model_ready", CLIP_MODEL):
                url = self.connection.urls[endpoint]
                raise ServerUnavailableError(f"{url}: {CLIP_MODEL} is not ready; see the server's log")
            return weights_label(await self._ask(endpoint, "get_model_config", CLIP_MODEL))
        except RequestRefusedError:
            return WEIGHTS_UNKNOWN

    async def server_version(self) -> str:
        """See Client.server_version."""
        return str((await self._query("get_server_metadata")).version)

    async def ready(self, model: str) -> bool:
        """See Client.ready."""
        return bool(await self._query("is_model_ready", model))

    async def attempt(self, call: Call) -> Answer:
        """Sends a request that may be sent again: a clip, or the first frame of a stream.

        Raises:
            ServerError: of the last attempt.
        """
        begun = time.monotonic()
        connection = self.connection
        attempts = Attempts(self._endpoints, connection.timeout_s, call.model, retry=connection.retry)
        async for attempt in AsyncRetrying(sleep=self.channels.sleep, **attempts.retrying()):
            with attempt:
                endpoint, timeout_s = attempts.next()
                answer = await self.infer(call, endpoint, timeout_s)
        return replace(answer, latency_s=time.monotonic() - begun)

    async def infer(self, call: Call, endpoint: int, timeout_s: float) -> Answer:
        """Sends a request once, to one server. Raises: ServerError."""
        begun = time.monotonic()
        result = await self._call(endpoint, "infer", call.arguments(), timeout_s, call.model)
        self._endpoints.answered(endpoint)
        return Answer(result, endpoint, time.monotonic() - begun)

    async def _result(self, scores: SourceScores) -> VideoResult:
        known = self._weights or WEIGHTS_UNKNOWN
        ask = scores.scored and self.connection.retry
        return scores.result(await self.weights() if ask else known)

    async def _query(self, method: str, model: str = "") -> Any:
        """Asks the servers in turn until one answers. Raises: ServerError of the last one."""
        urls, order = self.connection.urls, self._endpoints.order()
        for endpoint, next_endpoint in pairwise(order):
            try:
                return await self._ask(endpoint, method, model)
            except ServerError as error:
                log_failure(error, urls[endpoint], model, urls[next_endpoint])
        return await self._ask(order[-1], method, model)

    async def _ask(self, endpoint: int, method: str, model: str) -> Any:
        arguments = {"model_name": model} if model else {}
        return await self._call(endpoint, method, arguments, min(self.connection.timeout_s, QUERY_TIMEOUT_S))

    async def _call(
        self, endpoint: int, method: str, arguments: Mapping[str, Any], timeout_s: float, model: str = ""
    ) -> Any:
        given = {**arguments, "client_timeout": timeout_s, "headers": self.connection.headers}
        try:
            return await self.channels.call(endpoint, method, given)
        except InferenceServerException as error:
            raise self._endpoints.failed(endpoint, error, model) from error


class StreamSession:
    """Sends one stream's frames, all to the server that answered the first one. Its calls must not overlap."""

    def __init__(self, session: Session, sequence_id: int | str | None) -> None:
        self._session = session
        self.state = StreamState(sequence_id)
        self._endpoint: int | None = None

    async def score(self, jpeg: bytes, last: bool) -> FrameResult:
        """See Stream.score."""
        call = self.state.call(jpeg, last)
        try:
            answer = await self._send(call)
        except BaseException as error:
            if not self.state.failed(error):
                raise
            self._log_loss(error)
            if isinstance(error, ServerError):
                raise self.state.lost(error) from error
            raise
        return self.state.answered(answer, last)

    async def close(self) -> None:
        """See Stream.close."""
        call = self.state.closing_call()
        if call is not None and self._endpoint is not None:
            timeout_s = min(self._session.connection.timeout_s, END_TIMEOUT_S)
            # If END is lost, the server's idle timeout frees the slot.
            with suppress(ServerError):
                await self._session.infer(call, self._endpoint, timeout_s)

    async def _send(self, call: Call) -> Answer:
        if self._endpoint is not None:
            return await self._session.infer(call, self._endpoint, self._session.connection.timeout_s)
        answer = await self._session.attempt(call)
        self._endpoint = answer.endpoint
        return answer

    def _log_loss(self, error: BaseException) -> None:
        assert self._endpoint is not None  # a stream is lost after its first frame only
        server, name = self._session.connection.urls[self._endpoint], type(error).__name__
        fields = {"event": "stream_lost", "server": server, "model": STREAM_MODEL, "error": name}
        log.info("%s: %s: %s: stream %s is lost", server, STREAM_MODEL, name, self.state.sequence_id, extra=fields)


class ClientBase:
    """The constructor and the properties of both clients; see Client for the arguments."""

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
    ) -> None:
        connection = Connection.make(urls, timeout_s, tls, headers, retry)
        self._session = Session(connection, self._open(connection))

    def _open(self, connection: Connection) -> Channels:
        raise NotImplementedError

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses."""
        return self._session.connection.urls

    @property
    def timeout_s(self) -> float:
        """Time for one call with all its retries."""
        return self._session.connection.timeout_s


class StreamBase:
    """The constructor and the properties of both streams."""

    def __init__(self, client: ClientBase, sequence_id: int | str | None) -> None:
        self._stream = StreamSession(client._session, sequence_id)

    @property
    def sequence_id(self) -> int | str:
        """The correlation id."""
        return self._stream.state.sequence_id
