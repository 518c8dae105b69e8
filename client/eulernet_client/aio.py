"""The client for asyncio: client.py with `await`. Files are read and decoded in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tenacity import AsyncRetrying
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from eulernet_client._contract import CLIP_MODEL, WEIGHTS_UNKNOWN
from eulernet_client._media import iter_clips
from eulernet_client._requests import Answer, Call, ClipScores, StreamState, clip_call, frames_as_clip, weights_label
from eulernet_client._result import ClipResult, FrameResult
from eulernet_client._transport import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    END_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Attempts,
    Connection,
    Endpoints,
    Tls,
)
from eulernet_client.errors import RequestRefusedError, ServerError


class AsyncClient:
    """Scores videos, folders of JPEGs and live streams; see Client for the arguments. Use it in an `async with` block.

    Any number of `score` calls may run at once. It belongs to the event loop in which it is first used.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = Connection.make(urls, timeout_s, tls, headers)
        self._endpoints = Endpoints(self._connection.urls)
        self._opened: dict[int, Any] = {}
        self._weights: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses."""
        return self._connection.urls

    @property
    def timeout_s(self) -> float:
        """Time for one call with all its retries."""
        return self._connection.timeout_s

    async def score(self, path: str | Path, *, clips: int = 1, keep_jpegs: bool = False) -> ClipResult:
        """Scores a video or a folder of JPEGs; see Client.score."""
        scores = ClipScores(str(path), keep_jpegs=keep_jpegs)
        coming = iter_clips(path, clips)
        while (clip := await asyncio.to_thread(next, coming, None)) is not None:
            scores.add(clip, await self._attempt(clip_call(clip.jpegs)))
        return scores.result(await self.weights() if scores.scored else WEIGHTS_UNKNOWN)

    async def score_frames(self, jpegs: Sequence[bytes], *, name: str = "clip", keep_jpegs: bool = False) -> ClipResult:
        """Scores one clip of 4 JPEGs; see Client.score_frames."""
        scores = ClipScores(name, keep_jpegs=keep_jpegs)
        scores.add(frames_as_clip(jpegs), await self._attempt(clip_call(jpegs)))
        return scores.result(await self.weights() if scores.scored else WEIGHTS_UNKNOWN)

    def stream(self, sequence_id: int | str | None = None) -> AsyncStream:
        """Opens a live stream; see Client.stream."""
        return AsyncStream(self, sequence_id)

    async def weights(self) -> str:
        """Label of the weights that score; see Client.weights."""
        if self._weights is None:
            try:
                self._weights = weights_label(await self._query("get_model_config", CLIP_MODEL))
            except RequestRefusedError:
                self._weights = WEIGHTS_UNKNOWN
            except ServerError:
                return WEIGHTS_UNKNOWN
        return self._weights

    async def server_version(self) -> str:
        """Triton's version; see Client.server_version."""
        return str((await self._query("get_server_metadata")).version)

    async def ready(self, model: str) -> bool:
        """Whether a model is loaded."""
        return bool(await self._query("is_model_ready", model))

    async def close(self) -> None:
        """Close the connections."""
        opened, self._opened = self._opened, {}
        for channel in opened.values():
            await channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _channel(self, endpoint: int) -> Any:
        # Opened at first use: gRPC binds a channel to the running loop, and a client may be made outside of one.
        if endpoint not in self._opened:
            self._opened[endpoint] = InferenceServerClient(**self._connection.channel(self.urls[endpoint]))
        return self._opened[endpoint]

    async def _attempt(self, call: Call) -> Answer:
        begun = time.monotonic()
        attempts = Attempts(self._endpoints, self.timeout_s)
        async for attempt in AsyncRetrying(**attempts.retrying()):
            with attempt:
                endpoint, timeout_s = attempts.next()
                answer = await self._infer(call, endpoint, timeout_s)
        return Answer(answer.result, answer.endpoint, time.monotonic() - begun)

    async def _infer(self, call: Call, endpoint: int, timeout_s: float) -> Answer:
        begun = time.monotonic()
        try:
            result = await self._channel(endpoint).infer(
                **call.arguments(), client_timeout=timeout_s, headers=self._connection.headers
            )
        except InferenceServerException as error:
            raise self._endpoints.failed(endpoint, error, call.model) from error
        self._endpoints.answered(endpoint)
        return Answer(result, endpoint, time.monotonic() - begun)

    async def _query(self, method: str, *arguments: str) -> Any:
        failure: ServerError | None = None
        for endpoint in self._endpoints.order():
            try:
                return await getattr(self._channel(endpoint), method)(
                    *arguments,
                    client_timeout=min(self.timeout_s, QUERY_TIMEOUT_S),
                    headers=self._connection.headers,
                )
            except InferenceServerException as error:
                failure = self._endpoints.failed(endpoint, error)
                failure.__cause__ = error
        assert failure is not None  # there is at least one server
        raise failure


class AsyncStream:
    """A live stream; see Stream. Frames given at once by several coroutines go out one by one, in the order given."""

    def __init__(self, client: AsyncClient, sequence_id: int | str | None = None) -> None:
        self._client = client
        self._state = StreamState(sequence_id)
        self._endpoint: int | None = None
        self._lock = asyncio.Lock()

    @property
    def sequence_id(self) -> int | str:
        """The correlation id."""
        return self._state.sequence_id

    async def score(self, jpeg: bytes, *, last: bool = False) -> FrameResult:
        """Scores the next frame; see Stream.score. A call cancelled half-way loses the stream."""
        async with self._lock:
            call = self._state.call(jpeg, last)
            try:
                if self._endpoint is None:
                    answer = await self._client._attempt(call)
                    self._endpoint = answer.endpoint
                else:
                    answer = await self._client._infer(call, self._endpoint, self._client.timeout_s)
            except BaseException as error:
                lost = self._state.failed(error)
                if lost is None:
                    raise
                raise lost from error
            return self._state.answered(answer, last)

    async def close(self) -> None:
        """Send END if it has not been sent; see Stream.close."""
        async with self._lock:
            call = self._state.closing_call()
            if call is not None and self._endpoint is not None:
                with suppress(ServerError):
                    await self._client._infer(call, self._endpoint, min(self._client.timeout_s, END_TIMEOUT_S))

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
