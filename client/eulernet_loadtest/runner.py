# SPDX-License-Identifier: Apache-2.0
"""Runs plans one after the other on a server, with progress on the terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eulernet_client.errors import RequestRefusedError
from eulernet_loadtest.attack import Attack
from eulernet_loadtest.metrics import Metrics, Outcome
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.results import Run, summarised
from eulernet_loadtest.search import largest_that_holds
from eulernet_loadtest.target import Target
from eulernet_loadtest.traffic import Traffic

if TYPE_CHECKING:
    from eulernet_client import AsyncClient

REFRESH_S = 0.25
OPEN_LOOP_CALLS = 48  # assumed number of calls in flight of an open loop, for its connections


@dataclass(frozen=True)
class Runner:
    """Runs plans on one server.

    Attributes:
        connect: opens a client that doesn't retry (`AsyncClient(…, retry=False)`).
        traffic: the pictures.
        timeout_s: time for the requests that are in flight at the end of a run.
        show: draw progress if standard error is a terminal.
    """

    connect: Callable[[], AsyncClient]
    traffic: Traffic
    timeout_s: float
    show: bool = True

    def server(self) -> tuple[str, str]:
        """The server's version and the label of its weights. Raises: ServerError if no server answers."""

        async def ask() -> tuple[str, str]:
            async with self.connect() as client:
                version = "unknown"
                with suppress(RequestRefusedError):  # some proxies forward inference only
                    version = await client.server_version()
                return version, await client.weights()

        return asyncio.run(ask())

    def single_frame_servers(self) -> list[str]:
        """The servers that take one frame of a stream in a request. Those that don't tell are among them."""

        async def ask() -> list[str]:
            async with self.connect() as client:
                return [url for number, url in enumerate(client.urls) if not await client._session.takes_chunks(number)]

        return asyncio.run(ask())

    def run(self, plans: Iterable[Plan]) -> list[Run]:
        """Runs the plans in order."""
        return [asyncio.run(self._run(plan)) for plan in plans]

    def find_max_streams(self, plan: Plan, p99_ms: float, most: int) -> tuple[int, list[Run]]:
        """Searches the largest number of streams that the server sustains.

        Args:
            plan: its concurrency is the number to start with.
            p99_ms: largest corrected p99 of a frame. Every request must be scored as well.
            most: upper limit.

        Returns:
            The largest number found, 0 if there is none; and all runs.
        """
        runs: list[Run] = []

        async def holds(streams: int) -> bool:
            run = await self._run(replace(plan, concurrency=streams))
            runs.append(replace(run, holds=meets(run, p99_ms)))
            return bool(runs[-1].holds)

        return asyncio.run(largest_that_holds(holds, plan.concurrency or 1, most)), runs

    async def _run(self, plan: Plan) -> Run:
        async with Target(self.connect, plan.concurrency or OPEN_LOOP_CALLS) as target:
            attack = Attack(plan, self.traffic, target, self.timeout_s)
            cpu_s, wall_s = time.process_time(), time.monotonic()
            progress = asyncio.ensure_future(self._progress(attack, plan))
            try:
                metrics = await attack.run()
            finally:
                progress.cancel()
                with suppress(asyncio.CancelledError):
                    await progress
        client_cpu = (time.process_time() - cpu_s) / (time.monotonic() - wall_s)
        return summarised(metrics, client_cpu)

    async def _progress(self, attack: Attack, plan: Plan) -> None:
        console = Console(stderr=True)
        if not self.show or not console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
        )
        with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task(plan.load, total=1.0, now="warming up" if plan.warm_up_s else "")
            while True:
                bar.update(task, completed=attack.elapsed, now=_now(attack.metrics), refresh=True)
                await asyncio.sleep(REFRESH_S)


def _now(metrics: Metrics) -> str:
    """Text at the end of the progress bar."""
    if not metrics.requests:
        return "warming up"
    counts = metrics.counts
    failed = sum(times for outcome, times in counts.items() if not outcome.answered)
    return f"{metrics.recent_fps:.0f} frames/s, {counts[Outcome.LATE]} late, {failed} failed"


def meets(run: Run, p99_ms: float) -> bool:
    """Whether the corrected p99 is at most `p99_ms` and every request was scored."""
    if run.frame.corrected is None or run.counts[Outcome.UNSCORED.value] or run.failed:
        return False
    return run.frame.corrected.p99_ms <= p99_ms
