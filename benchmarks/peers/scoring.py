# SPDX-License-Identifier: Apache-2.0
"""Scores of a clip, from EulerNet's server through the client."""

from __future__ import annotations

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
    """Scores of a sequence of a clip's four frames, so many in each request."""

    def __init__(self, client: AsyncClient, chunk_frames: int = 1) -> None:
        self._client, self._chunk_frames = client, chunk_frames

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError, FrameError."""
        async with self._client.stream() as stream:
            chunks = [
                await stream.score_chunk(jpegs[first : first + self._chunk_frames])
                for first in range(0, len(jpegs), self._chunk_frames)
            ]
        return [frame.liveness for chunk in chunks for frame in chunk]
