# SPDX-License-Identifier: Apache-2.0
"""Latency of one replica by discrete-event simulation: paced streams, or clip calls that arrive at random.

The model of processor_sharing.py, with the load's real arrivals. A request's work is drawn from the measured spread. A
request that finds the replica idle takes the time of a lone one (P. D. Welch: On a generalized M/G/1 queuing process in
which the first customer of each busy period receives exceptional service, Oper. Res. 12, 1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from eulernet_loadtest.pacer import poisson
from eulernet_loadtest.planning.measured_service import MeasuredService

DRAWS = 16  # of the streams' phases: with one, the same frames would meet again and again
WARM_UP_FRAMES = 5  # of each stream and draw, not counted
REQUESTS = 10_000  # counted in all; the p99 then rests on 100 of them
MOST_IN_PROGRESS = 4096  # clip calls; where more would be in progress the replica does not keep up


class _SharedReplica:
    """Requests that share one replica. A request needs an amount of work; `_work` is what each has got so far."""

    def __init__(self, measured: MeasuredService, most: int, random: Random) -> None:
        self.times_s = measured.times_s(most)
        self._spreads = [measured.nearest(n).spread for n in range(min(most, measured.populations[-1]) + 1)]
        self._spreads[1] = tuple(each * measured.lone.time_s / self.times_s[1] for each in measured.lone.spread)
        self._random = random
        self.clear()

    def clear(self) -> None:
        """Starts anew, without a request."""
        self.now_s = self._work = 0.0
        self.active: list[tuple[float, float, int]] = []  # work at the end, due time, source

    def next_end_s(self) -> float:
        """When the next request ends, if no other comes."""
        if not self.active:
            return float("inf")
        return self.now_s + max(0.0, self.active[0][0] - self._work) * self.times_s[len(self.active)]

    def advance(self, to_s: float) -> None:
        if self.active:
            self._work += (to_s - self.now_s) / self.times_s[len(self.active)]
        self.now_s = to_s

    def begin(self, due_s: float, source: int) -> None:
        spread = self._spreads[min(len(self.active) + 1, len(self._spreads) - 1)]
        work = spread[int(self._random.random() * len(spread))]
        heappush(self.active, (self._work + work, due_s, source))

    def end(self) -> tuple[float, int]:
        """Ends the request that is done. Returns its due time and its source."""
        self._work, due_s, source = heappop(self.active)
        return due_s, source


def stream_latencies(
    measured: MeasuredService,
    streams: int,
    fps: float,
    frames: int = REQUESTS,
    seed: int = 1,
    phases_s: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Latencies of frames of paced streams from their due times, s, ascending. A stream has one frame in flight.

    Args:
        streams: open at the replica, each with a phase.
        fps: frame rate of each.
        frames: at least so many are counted.
        phases_s: first due times; without them each draw has random ones.
    """
    random = Random(seed)
    replica = _SharedReplica(measured, streams, random)
    each = WARM_UP_FRAMES + -(-frames // (DRAWS * streams))
    counted: list[float] = []
    for _ in range(DRAWS):
        first_s = phases_s or [random.random() / fps for _ in range(streams)]
        counted += _draw(replica, first_s, fps, each)
    return np.sort(np.array(counted))


def _draw(replica: _SharedReplica, first_s: Sequence[float], fps: float, each: int) -> list[float]:
    """`each` frames of each stream, the first ones due at `first_s`. Returns the counted latencies."""
    replica.clear()
    sends, sent = [(at_s, number) for number, at_s in enumerate(first_s)], [0] * len(first_s)
    heapify(sends)
    counted = []
    while sends or replica.active:
        end_s = replica.next_end_s()
        if sends and sends[0][0] <= end_s:
            at_s, source = heappop(sends)
            replica.advance(at_s)
            replica.begin(first_s[source] + sent[source] / fps, source)
            sent[source] += 1
            continue
        replica.advance(end_s)
        due_s, source = replica.end()
        if sent[source] > WARM_UP_FRAMES:
            counted.append(end_s - due_s)
        if sent[source] < each:
            heappush(sends, (max(end_s, first_s[source] + sent[source] / fps), source))
    return counted


def clip_latencies(
    measured: MeasuredService, rate_hz: float, calls: int = REQUESTS, seed: int = 1
) -> NDArray[np.float64]:
    """Latencies of clip calls that arrive as a Poisson process, s, ascending; infinite ones where they pile up."""
    warm_up = calls // 10
    return arriving_latencies(measured, list(islice(poisson(rate_hz, seed), warm_up + calls)), warm_up, seed)


def arriving_latencies(
    measured: MeasuredService, arrivals_s: Sequence[float], uncounted: int, seed: int = 1
) -> NDArray[np.float64]:
    """Latencies of clip calls that arrive at these times, s, ascending; infinite ones where they pile up.

    Args:
        arrivals_s: ascending.
        uncounted: calls at the beginning that warm the replica up.
        seed: of the calls' work.
    """
    # Not seeded as the arrivals are: long work would follow long gaps.
    replica = _SharedReplica(measured, MOST_IN_PROGRESS, Random(f"work {seed}"))
    counted: list[float] = []
    for number, at_s in enumerate((*arrivals_s, float("inf"))):
        while replica.active and (end_s := replica.next_end_s()) <= at_s:
            replica.advance(end_s)
            due_s, source = replica.end()
            if source >= uncounted:
                counted.append(end_s - due_s)
        if at_s == float("inf"):
            break
        replica.advance(at_s)
        if len(replica.active) == MOST_IN_PROGRESS:
            return np.full(len(arrivals_s), np.inf)
        replica.begin(at_s, number)
    return np.sort(np.array(counted))
