"""Carries out plans one after the other against a server, with progress on the terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eulernet_client.aio import AsyncClient
from eulernet_client.errors import RequestRefusedError
from eulernet_client.loadtest.attack import Attack
from eulernet_client.loadtest.metrics import Metrics, Outcome
from eulernet_client.loadtest.plan import Plan
from eulernet_client.loadtest.results import Run, summarised
from eulernet_client.loadtest.search import largest_that_holds
from eulernet_client.loadtest.target import Target
from eulernet_client.loadtest.traffic import Traffic

REFRESH_S = 0.25
OPEN_LOOP_CALLS = 48  # what an open loop's connections are made for; nobody knows how many calls it will have under way


@dataclass(frozen=True)
class Runner:
    """What all runs share.

    Attributes:
        connect: opens a client; its `timeout_s` is each request's.
        traffic: the pictures.
        timeout_s: for one request, and for what is under way when a run ends.
        show: draw progress on the terminal, if there is one.
    """

    connect: Callable[[], AsyncClient]
    traffic: Traffic
    timeout_s: float
    show: bool = True

    def server(self) -> tuple[str, str]:
        """The server's version and the label of its weights. Raises: ServerError where none answers."""

        async def ask() -> tuple[str, str]:
            async with self.connect() as client:
                version = "unknown"
                with suppress(RequestRefusedError):  # it answers, but keeps its version to itself
                    version = await client.server_version()
                return version, await client.weights()

        return asyncio.run(ask())

    def run(self, plans: Iterable[Plan]) -> list[Run]:
        """Carries out the plans in turn."""
        return [asyncio.run(self._run(plan)) for plan in plans]

    def find_max_streams(self, plan: Plan, p99_ms: float, most: int) -> tuple[int, list[Run]]:
        """Searches the largest `plan.concurrency`, which is where it starts, up to `most`.

        A number holds when the corrected p99 of a frame is at most `p99_ms` and every request was scored.

        Returns:
            The largest number that held, 0 if none did; and all runs.
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
    """How the run goes, for the end of the progress bar."""
    if not metrics.requests:
        return "warming up"
    counts = metrics.counts
    failed = sum(times for outcome, times in counts.items() if not outcome.answered)
    return f"{metrics.recent_fps:.0f} frames/s, {counts[Outcome.LATE]} late, {failed} failed"


def meets(run: Run, p99_ms: float) -> bool:
    """Whether a paced load held: a corrected p99 within `p99_ms`, and nothing without a score."""
    if run.frame.corrected is None or run.counts[Outcome.UNSCORED.value] or run.failed:
        return False
    return run.frame.corrected.p99_ms <= p99_ms
