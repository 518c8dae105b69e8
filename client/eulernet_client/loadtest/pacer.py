"""When each request is due. Pure schedules, and a loop that keeps them with a clock that a test can replace.

A schedule knows nothing of answers, so that a slow server cannot thin out the load that is meant to find it slow
(coordinated omission; Gil Tene's wrk2).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import count
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and a way to wait for one of them."""

    def now_s(self) -> float: ...

    async def sleep_until(self, time_s: float) -> None: ...


class MonotonicClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, time_s: float) -> None:
        """Returns at `time_s` or after it, never before."""
        while (left_s := time_s - self.now_s()) > 0:
            await asyncio.sleep(left_s)


def constant(rate_hz: float, first_s: float = 0.0) -> Iterator[float]:
    """Offsets in s: `first_s`, and one every 1 / `rate_hz` after it. Computed from their number: no drift."""
    return (first_s + number / rate_hz for number in count())


def poisson(rate_hz: float, seed: int) -> Iterator[float]:
    """Offsets in s of independent arrivals, `rate_hz` a second in the mean. One seed gives one schedule."""
    source = random.Random(seed)
    offset_s = 0.0
    while True:
        offset_s += source.expovariate(rate_hz)
        yield offset_s


async def due(offsets_s: Iterable[float], clock: Clock, begin_s: float, end_s: float) -> AsyncIterator[float]:
    """Yields each intended time, `begin_s` plus an offset, when it has come; ends before `end_s`.

    Never early, and none left out: who comes back late gets the overdue ones at once, with the times they were due.
    """
    for offset_s in offsets_s:
        intended_s = begin_s + offset_s
        if intended_s >= end_s:
            return
        await clock.sleep_until(intended_s)
        yield intended_s


async def at_once(clock: Clock, begin_s: float, end_s: float) -> AsyncIterator[float]:
    """The closed loop's schedule: the next one is due as soon as the last one is done."""
    await clock.sleep_until(begin_s)
    while (now_s := clock.now_s()) < end_s:
        yield now_s
