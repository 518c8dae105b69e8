# SPDX-License-Identifier: Apache-2.0
"""A target of the load tester that speaks HTTP, for the Python servers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

import aiohttp

from benchmarks.peers.body import HEADERS, pack
from eulernet_client.errors import RequestTimeoutError, ResponseError, ServerFailedError, ServerUnavailableError
from eulernet_loadtest.target import Target
from eulernet_serving.embedded_server import HOST

TIMEOUT_S = 30.0


class HttpTarget(Target):
    """A Python server with POST /score. Use it in an `async with` block.

    Args:
        port: its port on loopback.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/score"
        # A persistent connection for each clip in progress; no proxy.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False
        )

    async def liveness(self, jpegs: Sequence[bytes], exact: bool = False) -> list[float]:
        """See Scoring.liveness. Raises: ServerError."""
        try:
            async with self._session.post(self._url, data=pack(jpegs, exact), headers=HEADERS) as answer:
                if answer.status != 200:
                    raise ServerFailedError(f"{self._url}: status {answer.status}: {(await answer.text())[:200]}")
                scores = (await answer.json())["liveness"]
        except asyncio.TimeoutError as error:
            raise RequestTimeoutError(f"{self._url}: no answer after {TIMEOUT_S:g} s; see its log") from error
        except aiohttp.ClientError as error:
            raise ServerUnavailableError(f"{self._url}: {error}; see its log") from error
        if len(scores) != len(jpegs):
            raise ResponseError(f"{self._url}: {len(scores)} scores for {len(jpegs)} frames")
        return [float(score) for score in scores]

    async def clip(self, jpegs: Sequence[bytes]) -> bool:
        """See Target.clip."""
        return bool(await self.liveness(jpegs))

    async def __aenter__(self) -> HttpTarget:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
