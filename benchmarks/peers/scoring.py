# SPDX-License-Identifier: Apache-2.0
"""Scores of a clip, from EulerNet's server through the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from eulernet_client import AsyncClient


class Scoring(Protocol):
    """Asks a server for the four LIVENESS of a clip."""

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """`exact`: see body.Clip; EulerNet's server ignores it."""


class ClipScoring:
    """Scores of the clip call."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError, FrameError."""
        return [frame.liveness for frame in (await self._client.score_frames(jpegs)).frames]


class StreamScoring:
    """Scores of a sequence of a clip's four frames, `chunk` in each call, and `in_flight` calls at once."""

    def __init__(self, client: AsyncClient, chunk: int = 1, in_flight: int = 1) -> None:
        self._client, self._chunk, self._in_flight = client, chunk, in_flight

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError, FrameError."""
        calls = [jpegs[first : first + self._chunk] for first in range(0, len(jpegs), self._chunk)]
        liveness: list[float] = []
        async with self._client.stream() as stream:
            for first in range(0, len(calls), self._in_flight):
                at_once = calls[first : first + self._in_flight]
                for chunk in await asyncio.gather(*(stream.score_chunk(call) for call in at_once)):
                    liveness += [frame.liveness for frame in chunk]
        return liveness
