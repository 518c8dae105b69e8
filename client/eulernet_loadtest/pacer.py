# SPDX-License-Identifier: Apache-2.0
"""Schedules of requests, and loops that follow them with a replaceable clock.

A schedule does not depend on answers: a slow server can't reduce the load (coordinated omission; Gil Tene's wrk2).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import count
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in s that can wait."""

    def now_s(self) -> float: ...

    async def sleep_until(self, time_s: float) -> None: ...


class MonotonicClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep_until(self, time_s: float) -> None:
        """Returns at `time_s` or later, never earlier."""
        while (left_s := time_s - self.now_s()) > 0:
            await asyncio.sleep(left_s)


def constant(rate_hz: float, first_s: float = 0.0) -> Iterator[float]:
    """Offsets in s: `first_s`, then one every 1 / `rate_hz`. Computed from their number, so without drift."""
    return (first_s + number / rate_hz for number in count())


def poisson(rate_hz: float, seed: int) -> Iterator[float]:
    """Offsets in s of a Poisson process of mean rate `rate_hz`. The same seed gives the same offsets."""
    source = random.Random(seed)
    offset_s = 0.0
    while True:
        offset_s += source.expovariate(rate_hz)
        yield offset_s


async def due(offsets_s: Iterable[float], clock: Clock, begin_s: float, end_s: float) -> AsyncIterator[float]:
    """Yields each intended time, `begin_s` plus an offset, at that time or later; ends before `end_s`.

    Skips none: after a delay the overdue times follow at once, unchanged.
    """
    for offset_s in offsets_s:
        intended_s = begin_s + offset_s
        if intended_s >= end_s:
            return
        await clock.sleep_until(intended_s)
        yield intended_s


async def at_once(clock: Clock, begin_s: float, end_s: float) -> AsyncIterator[float]:
    """The closed loop's schedule: a request is due as soon as the previous request is done."""
    await clock.sleep_until(begin_s)
    while (now_s := clock.now_s()) < end_s:
        yield now_s
