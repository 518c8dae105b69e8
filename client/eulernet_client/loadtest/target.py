"""Sends single requests, each once: a retry would hide what a load test looks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from eulernet_client._requests import StreamState, clip_call, clip_problem, parse_clip
from eulernet_client._transport import END_TIMEOUT_S
from eulernet_client.aio import AsyncClient
from eulernet_client.errors import ServerError

CALLS_PER_CONNECTION = 6  # as perf_analyzer shares them
MOST_CONNECTIONS = 32


class Target:
    """The servers, over as many connections as `calls` at once need. Use it in an `async with` block.

    Args:
        connect: opens a client; each has a connection of its own to each server.
        calls: how many calls are likely to be under way at once.
    """

    def __init__(self, connect: Callable[[], AsyncClient], calls: int) -> None:
        connections = min(MOST_CONNECTIONS, -(-calls // CALLS_PER_CONNECTION))
        self._clients = [connect() for _ in range(connections)]
        self._turn = 0

    def _next(self) -> AsyncClient:
        self._turn += 1
        return self._clients[self._turn % len(self._clients)]

    async def clip(self, jpegs: Sequence[bytes]) -> bool:
        """One clip call. Returns whether it was scored. Raises: ServerError."""
        client = self._next()
        answer = await client._infer(clip_call(jpegs), client._endpoints.order()[0], client.timeout_s)
        return clip_problem("clip", parse_clip(answer.result)) is None

    def stream(self) -> TargetStream:
        """A new stream, which stays on one server."""
        return TargetStream(self._next())

    async def __aenter__(self) -> Target:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()


class TargetStream:
    """One stream; its frames are sent one after the other."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._state = StreamState()
        self._endpoint = client._endpoints.order()[0]

    async def frame(self, jpeg: bytes, last: bool) -> bool:
        """The next frame. Returns whether it was scored. Raises: ServerError; the stream is lost then."""
        call = self._state.call(jpeg, last)
        try:
            answer = await self._client._infer(call, self._endpoint, self._client.timeout_s)
        except BaseException as error:
            self._state.failed(error)
            raise
        return self._state.answered(answer, last).status.usable

    async def close(self) -> None:
        """Sends END if the stream has begun and not ended, so that its slot is free for others."""
        call = self._state.closing_call()
        if call is not None:
            with suppress(ServerError):
                await self._client._infer(call, self._endpoint, min(self._client.timeout_s, END_TIMEOUT_S))
