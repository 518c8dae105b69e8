# SPDX-License-Identifier: Apache-2.0
"""Sends requests through the client, each of them once: a retry would hide the failures that a load test looks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from eulernet_client.errors import FrameError, ServerError, StreamLostError

if TYPE_CHECKING:
    from eulernet_client import AsyncClient

CALLS_PER_CONNECTION = 6  # perf_analyzer's own ratio
MOST_CONNECTIONS = 32


class Target:
    """The servers, over several connections. Use it in an `async with` block.

    Args:
        connect: opens a client that doesn't retry; each has its own connection to each server.
        calls: number of calls expected at once; decides the number of connections.
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
        try:
            await self._next().score_frames(jpegs)
        except FrameError:
            return False
        return True

    def stream(self) -> TargetStream:
        """A new stream, on one server."""
        return TargetStream(self._next())

    async def __aenter__(self) -> Target:
        # A client asks for the weights' label with its first clip, and whether a server takes several frames in a
        # request with the first of these: that must not be part of a measured call.
        await asyncio.gather(
            *(client.weights() for client in self._clients),
            *(client._session.takes_chunks(number) for client in self._clients for number in range(len(client.urls))),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()


class TargetStream:
    """One stream; requests that come before the previous one's answer go out together."""

    def __init__(self, client: AsyncClient) -> None:
        self._stream = client.stream()

    async def frames(self, jpegs: Sequence[bytes], last: bool) -> bool:
        """The next frames, in one request. Returns whether all were scored.

        Raises:
            ServerError: the request's own error, even where the client reports a lost stream. The stream has ended.
        """
        try:
            results = await self._stream.score_chunk(jpegs, last=last)
        except StreamLostError as error:
            if isinstance(error.__cause__, ServerError):
                raise error.__cause__ from None
            raise
        return all(result.status.usable for result in results)

    async def close(self) -> None:
        """Sends END if the stream has started and not ended, which frees its slot."""
        await self._stream.close()
