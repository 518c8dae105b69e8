"""The scores of a clip, asked of our server through the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eulernet_client.aio import AsyncClient


class Scoring(Protocol):
    """Tells the four LIVENESS of a clip."""

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """`exact`: see Clip; our own server finds a face one way only."""


class ClipScoring:
    """Ours over the clip call."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError, FrameError."""
        return [frame.liveness for frame in (await self._client.score_frames(jpegs)).frames]


class StreamScoring:
    """Ours over a sequence of a clip's four frames."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError, FrameError."""
        async with self._client.stream() as stream:
            frames = [await stream.score(jpeg, last=number == len(jpegs)) for number, jpeg in enumerate(jpegs, 1)]
        return [frame.liveness for frame in frames]
