# SPDX-License-Identifier: Apache-2.0
"""One measured load, the same for all ways: the load tester's, and the usage of the server's processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.peers.errors import BenchError
from benchmarks.process_usage import Tree, machine_cpu_s
from eulernet_loadtest.attack import Attack
from eulernet_loadtest.metrics import Metrics, Outcome, Window
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.target import Target
from eulernet_loadtest.traffic import Traffic

DRAIN_S = 30.0
SAMPLE_S = 0.25  # between two samples of the resident memory


@dataclass(frozen=True)
class Usage:
    """Usage of a server's processes within the measured window. `rss_peak_bytes`: maximum of the samples; `pss_bytes`:
    at the end; `client_cores`, `other_cores`: processor time of the load generator and of all other programs, in
    cores."""

    cpu_s: float
    rss_peak_bytes: int
    pss_bytes: int
    client_cores: float
    other_cores: float


@dataclass(frozen=True)
class Idle:
    """A server before its first load. `ready_s`: from the process's start to its first answers; `pss_bytes`: then."""

    ready_s: float
    pss_bytes: int


@dataclass(frozen=True)
class Load:
    """Results of one load.

    Attributes:
        frames_per_s: scored frames/s.
        p50_ms, p99_ms: latency of a clip, from its send to its last score; in an open loop from the time at which it
            was due.
        clips: number of answered clips, the base of the percentiles.
        cpu_ms_per_frame: processor time of the server's processes for one frame.
        errors: requests without a score.
        usage: memory and processor time.
    """

    frames_per_s: float
    p50_ms: float
    p99_ms: float
    clips: int
    cpu_ms_per_frame: float
    errors: int
    usage: Usage

    @classmethod
    def of(cls, metrics: Metrics, usage: Usage) -> Load:
        """Raises: BenchError if no clip was scored."""
        both = metrics.clip_latency()
        latency = both.uncorrected if metrics.plan.rate_hz is None else both.corrected
        if latency is None or metrics.throughput_fps == 0:
            outcomes = {outcome.value: number for outcome, number in metrics.counts.items()}
            raise BenchError(
                f"no clip was scored within the measured {metrics.window.length_s:g} s: {outcomes}, "
                f"{dict(metrics.errors)}; increase --seconds"
            )
        frames = metrics.throughput_fps * metrics.window.length_s
        return cls(
            frames_per_s=metrics.throughput_fps,
            p50_ms=latency.p50_ms,
            p99_ms=latency.p99_ms,
            clips=latency.count or 0,
            cpu_ms_per_frame=1000 * usage.cpu_s / frames,
            errors=sum(number for outcome, number in metrics.counts.items() if outcome is not Outcome.OK),
            usage=usage,
        )


async def watched(tree: Tree, window: Window) -> Usage:
    """Waits until the end of the window and returns the usage of the tree within it."""
    await _sleep_until(window.begin_s)
    begin = (tree.cpu_s(), time.process_time(), machine_cpu_s(), time.monotonic())
    peak = tree.rss_bytes()
    while (left_s := window.end_s - time.monotonic()) > 0:
        await asyncio.sleep(min(SAMPLE_S, left_s))
        peak = max(peak, tree.rss_bytes())
    end = (tree.cpu_s(), time.process_time(), machine_cpu_s(), time.monotonic())
    server_s, client_s, machine_s, wall_s = (b - a for a, b in zip(begin, end, strict=True))
    memory = await asyncio.to_thread(tree.memory)
    return Usage(
        cpu_s=server_s,
        rss_peak_bytes=max(peak, memory.rss_bytes),
        pss_bytes=memory.pss_bytes,
        client_cores=client_s / wall_s,
        other_cores=max(0.0, (machine_s - server_s - client_s) / wall_s),
    )


async def _sleep_until(time_s: float) -> None:
    while (left_s := time_s - time.monotonic()) > 0:
        await asyncio.sleep(left_s)


async def attacked(plan: Plan, traffic: Traffic, connect: Callable[[], Target], tree: Tree) -> Load:
    """Runs the plan."""
    async with connect() as target:
        attack = Attack(plan, traffic, target, DRAIN_S)
        watching = asyncio.ensure_future(watched(tree, attack.metrics.window))
        try:
            metrics = await attack.run()
            usage = await watching
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return Load.of(metrics, usage)
