# SPDX-License-Identifier: Apache-2.0
"""The pacer with a simulated clock: intended and actual times of quick and slow senders."""

from __future__ import annotations

import asyncio
import itertools
import statistics

import pytest

from eulernet_loadtest.pacer import MonotonicClock, at_once, constant, due, poisson


class FakeClock:
    """A clock that only tests and waits advance."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.time_s = now_s
        self.waits: list[float] = []

    def now_s(self) -> float:
        return self.time_s

    async def sleep_until(self, time_s: float) -> None:
        if time_s > self.time_s:
            self.waits.append(time_s)
            self.time_s = time_s


async def sent(schedule, clock, busy_s) -> list[tuple[float, float]]:
    """Intended and actual send times of a sender that request n keeps busy for `busy_s[n]`."""
    times = []
    async for intended_s in schedule:
        times.append((round(intended_s, 9), round(clock.now_s(), 9)))
        clock.time_s += next(busy_s, 0.0)
    return times


def test_constant_offsets_do_not_drift() -> None:
    offsets = constant(30.0, first_s=0.25)
    assert next(offsets) == 0.25
    assert next(itertools.islice(offsets, 2_999_999 - 1, None)) == 0.25 + 2_999_999 / 30
    assert list(itertools.islice(constant(10.0), 4)) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_poisson_arrivals_are_independent() -> None:
    """Exponential gaps: their mean is 1 / rate and so is their spread; a seed repeats them."""
    offsets = list(itertools.islice(poisson(50.0, seed=3), 20_000))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *offsets])]
    assert min(gaps) > 0
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.correlation(gaps[1:], gaps[:-1]) == pytest.approx(0, abs=0.03)
    assert list(itertools.islice(poisson(50.0, seed=3), 100)) == offsets[:100]
    assert list(itertools.islice(poisson(50.0, seed=4), 100)) != offsets[:100]


@pytest.mark.parametrize(
    ("busy_s", "expected"),
    [
        ([], [(100.0, 100.0), (100.1, 100.1), (100.2, 100.2), (100.3, 100.3)]),
        ([0.05] * 4, [(100.0, 100.0), (100.1, 100.1), (100.2, 100.2), (100.3, 100.3)]),
        ([0.25], [(100.0, 100.0), (100.1, 100.25), (100.2, 100.25), (100.3, 100.3)]),
        ([0.15] * 4, [(100.0, 100.0), (100.1, 100.15), (100.2, 100.3), (100.3, 100.45)]),
        ([9.0], [(100.0, 100.0), (100.1, 109.0), (100.2, 109.0), (100.3, 109.0)]),
    ],
    ids=["idle", "quicker than the pace", "one stall", "slower than the pace", "a stall beyond the end"],
)
async def test_no_request_is_early_or_skipped(busy_s, expected) -> None:
    clock = FakeClock()
    schedule = due(constant(10.0), clock, 100.0, 100.35)
    assert await sent(schedule, clock, iter(busy_s)) == expected
    assert all(intended_s <= sent_s for intended_s, sent_s in expected)


async def test_overdue_requests_follow_at_once() -> None:
    clock = FakeClock()
    times = await sent(due(constant(10.0), clock, 101.0, 102.0), clock, iter([0.55]))
    assert len(times) == 10
    assert clock.waits == pytest.approx([101.0, 101.6, 101.7, 101.8, 101.9])


async def test_arrivals_do_not_depend_on_the_sender() -> None:
    """A quick sender and one that hangs have the same intended Poisson arrivals."""
    quick, slow = FakeClock(), FakeClock()
    of_quick = await sent(due(poisson(20.0, 7), quick, 100.0, 105.0), quick, iter(()))
    of_slow = await sent(due(poisson(20.0, 7), slow, 100.0, 105.0), slow, iter([0.0, 3.0]))
    assert [intended for intended, _ in of_slow] == [intended for intended, _ in of_quick]
    assert max(actual - intended for intended, actual in of_slow) > 2.5
    assert max(actual - intended for intended, actual in of_quick) == 0


async def test_closed_loop_sends_upon_each_answer() -> None:
    clock = FakeClock()
    times = await sent(at_once(clock, 100.5, 102.0), clock, iter([0.2, 0.9, 0.35, 0.1]))
    assert times == [(time, time) for time in (100.5, 100.7, 101.6, 101.95)]


async def test_the_monotonic_clock_never_wakes_early() -> None:
    clock = MonotonicClock()
    for delay_s in (0.0, 0.0004, 0.003, 0.02):
        target_s = clock.now_s() + delay_s
        await asyncio.wait_for(clock.sleep_until(target_s), timeout=5)
        assert clock.now_s() >= target_s
