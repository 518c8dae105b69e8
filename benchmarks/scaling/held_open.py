# SPDX-License-Identifier: Apache-2.0
"""A load of many open streams that send in turn, built from the load tester's modules.

The load tester's plans do not cover it: they end a stream whose next frame is due after the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from eulernet_client import AsyncClient
from eulernet_client.errors import ServerError
from eulernet_loadtest.metrics import Metrics, Outcome, Sample, Window
from eulernet_loadtest.pacer import MonotonicClock, constant, due
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.results import Run, summarised
from eulernet_loadtest.target import Target
from eulernet_loadtest.traffic import Source, Traffic

AT_ONCE = 16  # streams opened or closed in parallel
SAMPLE_S = 0.5
LATE_S = 1.0
METRIC_S = 1.5  # after which the server's metric shows the open streams; it is set each second


class _Stream:
    """One open stream; a frame is sent after the previous frame's answer."""

    def __init__(self, target: Target, source: Source) -> None:
        self._stream, self._source = target.stream(), source
        self._numbers = count()
        self._turn = asyncio.Lock()

    async def frame(self, sent: Callable[[], None] = lambda: None) -> bool:
        """Sends the next frame. Returns whether it was scored. Raises: ServerError."""
        async with self._turn:
            sent()
            return await self._stream.frames([self._source.frame(next(self._numbers))], last=False)

    async def close(self) -> None:
        await self._stream.close()


def hold_open(
    connect: Callable[[], AsyncClient],
    traffic: Traffic,
    streams: int,
    rate_hz: float,
    seconds: float,
    sample: Callable[[], Any],
) -> tuple[Run, list[Any], float]:
    """Opens `streams` with a frame each, then sends `rate_hz` frames/s in total, to each stream in turn.

    Args:
        connect: opens a client that doesn't retry.
        traffic: the pictures.
        seconds: measured duration, with all streams open.
        sample: called every half second of it, in a thread.
    Returns: the run, the results of `sample`, and the time to open all streams, in s.
    Raises: ServerError if a stream can't be opened.
    """
    plan = Plan(concurrency=streams, fps=rate_hz / streams, duration_s=seconds, warm_up_s=0, late_s=LATE_S)

    async def run() -> tuple[Metrics, list[Any], float]:
        async with Target(connect, streams) as target:
            opened = [_Stream(target, traffic.source(number)) for number in range(streams)]
            try:
                begin_s = time.monotonic()
                await _all([each.frame for each in opened])
                opening_s = time.monotonic() - begin_s
                await asyncio.sleep(METRIC_S)
                return *await _in_turn(opened, plan, rate_hz, sample), opening_s
            finally:
                await _all([each.close for each in opened])

    cpu_s, wall_s = time.process_time(), time.monotonic()
    metrics, samples, opening_s = asyncio.run(run())
    return summarised(metrics, (time.process_time() - cpu_s) / (time.monotonic() - wall_s)), samples, opening_s


async def _all(actions: list[Callable[[], Any]]) -> None:
    """Runs all actions, AT_ONCE in parallel."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(action: Callable[[], Any]) -> None:
        async with places:
            await action()

    await asyncio.gather(*(one(action) for action in actions))


async def _in_turn(
    opened: list[_Stream], plan: Plan, rate_hz: float, sample: Callable[[], Any]
) -> tuple[Metrics, list[Any]]:
    """Sends the frames on schedule, independent of earlier answers."""
    clock = MonotonicClock()
    begin_s = clock.now_s()
    end_s = begin_s + plan.duration_s
    metrics = Metrics(plan, Window(begin_s, end_s))

    async def send(stream: _Stream, intended_s: float) -> None:
        sent_s: float | None = None

        def sent() -> None:
            nonlocal sent_s
            sent_s = clock.now_s()

        error = ""
        try:
            outcome = Outcome.OK if await stream.frame(sent) else Outcome.UNSCORED
        except ServerError as failure:
            outcome, error = Outcome.FAILED, type(failure).__name__
        done_s = clock.now_s()
        if outcome is Outcome.OK and done_s - intended_s > LATE_S:
            outcome = Outcome.LATE
        metrics.record(Sample(intended_s, sent_s, done_s, outcome, error))

    async def watch() -> list[Any]:
        samples = []
        while True:
            samples.append(await asyncio.to_thread(sample))
            if clock.now_s() + SAMPLE_S >= end_s:
                return samples
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.ensure_future(watch())
    tasks = []
    number = count()
    async for intended_s in due(constant(rate_hz), clock, begin_s, end_s):
        tasks.append(asyncio.ensure_future(send(opened[next(number) % len(opened)], intended_s)))
    await asyncio.gather(*tasks)
    return metrics, await watching
