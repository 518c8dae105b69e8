# SPDX-License-Identifier: Apache-2.0
"""Streams on a fleet behind gateways, by discrete-event simulation: how unevenly they lie, and what a lost zone costs.

An event is a stream that begins, ends, or loses its replica. A stream stays on the replica of its first frame. The
gateway chooses the replica with the fewest requests under way there (HAProxy's leastconn), not the one with the fewest
streams. How many requests are under way at that moment is drawn from processor_sharing.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from eulernet_loadtest.planning.capacity import left_after_zone
from eulernet_loadtest.planning.frame_simulation import stream_latencies
from eulernet_loadtest.planning.measured_service import MeasuredService
from eulernet_loadtest.planning.processor_sharing import in_progress

MOST_REPLICAS = 1000
TABLE_EXPIRY_S = 600.0  # an entry of the gateway's table is kept so long after the stream's last frame
FOUND_LOST_S = 5.0  # at most, from the loss of a silent replica to the gateway's choice of another
SETTLING, WATCHED = 2, 2  # mean lengths of a stream, before and while the fleet is watched
_LOOKS = 40  # at the streams of each replica
_FRAMES = 4000  # simulated for the latency of a replica with a given number of streams
_EXACT = 32  # streams; larger numbers share a latency with the next of a grid of 3 %


@dataclass(frozen=True)
class Fleet:
    """Replicas, gateways and their streams.

    Attributes:
        replicas: at the start, spread evenly over `zones`.
        gateways: each counts the requests that it passes on itself.
        streams: open at any time; where one ends the next begins.
        fps: frame rate of a stream.
        stream_s: mean length of a stream; lengths are exponential.
        table_size: streams that a gateway's table holds.
    """

    replicas: int
    zones: int
    gateways: int
    streams: int
    fps: float
    stream_s: float
    table_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise ValueError(f"replicas={self.replicas}: simulate 1 to {MOST_REPLICAS}")


@dataclass(frozen=True)
class Outcome:
    """What was seen.

    Attributes:
        scenario: its name.
        replicas: that served.
        mean, p99, most: streams of a replica, over replicas and time.
        p99_s: latency of a frame, over all streams.
        busiest_p99_s: the same on a replica with `most` streams.
        used: share of a replica's largest throughput that `most` streams take.
        replayed: streams that lost their replica.
        back_s: time from the loss until their frames are worked off; infinite without spare throughput.
    """

    scenario: str
    replicas: int
    mean: float
    p99: float
    most: int
    p99_s: float
    busiest_p99_s: float
    used: float
    replayed: int = 0
    back_s: float = 0.0


@dataclass(frozen=True)
class Table:
    """A gateway's table of streams. `wanted`: entries if it were large enough; `forgotten`: open streams that it can't
    hold. The entry that was unused for longest goes first, and an open stream's is used with every frame."""

    wanted: int
    forgotten: int


def table(fleet: Fleet) -> Table:
    """Open streams, and by Little's law those that ended within the expiry."""
    ended = fleet.streams / fleet.stream_s * TABLE_EXPIRY_S
    return Table(round(fleet.streams + ended), max(0, fleet.streams - fleet.table_size))


class _Gateways:
    """The choice of a replica for a new stream, as one of several gateways makes it."""

    def __init__(self, measured: MeasuredService, fleet: Fleet, random: np.random.Generator) -> None:
        self._measured, self._fleet, self._random = measured, fleet, random
        self.streams = np.zeros(fleet.replicas, np.int64)  # open at each replica
        self.alive = np.ones(fleet.replicas, bool)
        self._idle, self._below = np.zeros(0), np.zeros((0, 0))  # by streams; see _know

    def choose(self) -> int:
        """The number of the replica."""
        self._know(int(self.streams.max()))
        idle = self._idle[self.streams] > self._random.random(self._fleet.replicas)
        found = np.flatnonzero(idle & self.alive)
        if found.size:
            # Of idle replicas leastconn takes the one whose last request ended first.
            rates_hz = np.maximum(self.streams[found], 1e-9)
            return int(found[np.argmax(self._random.standard_exponential(len(found)) / rates_hz)])
        found = np.flatnonzero(self.alive)
        below = self._below[self.streams[found]]
        under_way = (below < self._random.random(len(found))[:, None]).sum(axis=1)
        return int(self._random.choice(found[under_way == under_way.min()]))

    def _know(self, most: int) -> None:
        """Computes what a gateway sees of a replica with up to `most` streams: the probability of no request of its
        own, and the probabilities of at most 0, 1, … of them where there is one."""
        if most < len(self._idle):
            return
        shares = [np.ones(1), *(self._seen(streams) for streams in range(1, 2 * most + 2))]
        self._idle = np.array([each[0] for each in shares])
        below = [np.cumsum(np.concatenate(([0.0], each[1:]))) / max(1 - each[0], 1e-12) for each in shares]
        self._below = np.array([np.pad(each, (0, 2 * most + 2 - len(each)), constant_values=1.0) for each in below])

    def _seen(self, streams: int) -> NDArray[np.float64]:
        """Probability of 0, 1, … requests of one gateway under way at a replica; each request came by any of them."""
        under_way = in_progress(self._measured, streams * self._fleet.fps, streams)
        thinned = under_way[:, None] * _thinning(streams, 1 / self._fleet.gateways)
        shares: NDArray[np.float64] = thinned.sum(axis=0)
        return shares


def _thinning(most: int, share: float) -> NDArray[np.float64]:
    """Probability that of n things m are kept, each with probability `share`; float64 (most + 1, most + 1)."""
    kept = np.zeros((most + 1, most + 1))
    kept[0, 0] = 1.0
    for n in range(1, most + 1):
        kept[n] = (1 - share) * kept[n - 1]
        kept[n, 1:] += share * kept[n - 1, :-1]
    return kept


class _Simulation:
    """One run: the fleet settles and is watched; with several zones it loses one and is watched again."""

    def __init__(self, measured: MeasuredService, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.random = np.random.default_rng(seed)
        self.gateways = _Gateways(measured, fleet, self.random)
        self.env = simpy.Environment()
        self.homes: dict[simpy.Process, int] = {}
        self.began_s: dict[simpy.Process, float] = {}
        self.replayed, self.replayed_frames = 0, 0.0
        self.whole: Counter[int] = Counter()  # replicas by their streams
        self.lessened: Counter[int] = Counter()  # the same after the loss

    def run(self) -> None:
        slots = [self.env.process(self._slot(number)) for number in range(self.fleet.streams)]
        self.env.run(until=self.env.process(self._events(slots)))

    def _slot(self, number: int) -> Generator[simpy.Event, Any, None]:
        """One stream after the other. The first ones lie evenly."""
        me = self.env.active_process
        assert me is not None
        replica = number % self.fleet.replicas
        while True:
            self.began_s[me] = self.env.now
            left_s = float(self.random.exponential(self.fleet.stream_s))
            while left_s := (yield from self._stay(me, replica, left_s)):
                replica = self.gateways.choose()
            replica = self.gateways.choose()

    def _stay(self, stream: simpy.Process, replica: int, stay_s: float) -> Generator[simpy.Event, Any, float]:
        """A stream on its replica until it ends. Returns 0, or what is left of it where the replica was lost."""
        self.homes[stream] = replica
        self.gateways.streams[replica] += 1
        begin_s = self.env.now
        try:
            yield self.env.timeout(stay_s)
        except simpy.Interrupt:
            left_s = max(0.0, begin_s + stay_s - self.env.now)
            yield self.env.timeout(float(self.random.uniform(0, FOUND_LOST_S)))
            return left_s
        self.gateways.streams[replica] -= 1
        return 0.0

    def _events(self, slots: list[simpy.Process]) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(SETTLING * self.fleet.stream_s)
        yield from self._watch(self.whole)
        if self.fleet.zones > 1:
            self._lose_zone(slots)
            yield self.env.timeout(FOUND_LOST_S)
            yield from self._watch(self.lessened)

    def _watch(self, seen: Counter[int]) -> Generator[simpy.Event, Any, None]:
        for _ in range(_LOOKS):
            seen.update(self.gateways.streams[self.gateways.alive].tolist())
            yield self.env.timeout(WATCHED * self.fleet.stream_s / _LOOKS)

    def _lose_zone(self, slots: list[simpy.Process]) -> None:
        lost = np.arange(self.fleet.replicas) % self.fleet.zones == 0
        self.gateways.alive[lost] = False
        self.gateways.streams[lost] = 0
        for slot in slots:
            if lost[self.homes[slot]]:
                self.replayed += 1
                self.replayed_frames += (self.env.now - self.began_s[slot]) * self.fleet.fps
                slot.interrupt()


def simulate(measured: MeasuredService, fleet: Fleet, seed: int = 1) -> list[Outcome]:
    """Streams that lie evenly, as the gateway lays them, and after the loss of a zone if there are several."""
    latencies = _Latencies(measured, fleet.fps)
    even: Counter[int] = Counter()
    for number in range(fleet.replicas):
        even[fleet.streams // fleet.replicas + (number < fleet.streams % fleet.replicas)] += 1
    outcomes = [_outcome("even", fleet.replicas, even, latencies)]
    run = _Simulation(measured, fleet, seed)
    run.run()
    outcomes.append(_outcome("gateway", fleet.replicas, run.whole, latencies))
    if fleet.zones > 1:
        left = left_after_zone(fleet.replicas, fleet.zones)
        frames = run.replayed_frames + run.replayed * FOUND_LOST_S * fleet.fps
        spare_hz = left * measured.most_per_s - fleet.streams * fleet.fps
        back_s = FOUND_LOST_S + frames / spare_hz if spare_hz > 0 else float("inf")
        outcomes.append(_outcome("zone lost", left, run.lessened, latencies, run.replayed, back_s))
    return outcomes


class _Latencies:
    """Latencies of a replica by its streams, each simulated once."""

    def __init__(self, measured: MeasuredService, fps: float) -> None:
        self.measured, self.fps = measured, fps
        self._known: dict[int, NDArray[np.float64]] = {}

    def of(self, streams: int) -> NDArray[np.float64]:
        """1000 equally likely latencies of a frame, s."""
        near = streams
        if streams > _EXACT:
            near = int(np.ceil(_EXACT * 1.03 ** np.ceil(np.log(streams / _EXACT) / np.log(1.03))))
        if near not in self._known:
            found = stream_latencies(self.measured, near, self.fps, _FRAMES)
            self._known[near] = np.quantile(found, (np.arange(1000) + 0.5) / 1000)
        return self._known[near]


def _outcome(
    scenario: str,
    replicas: int,
    seen: Counter[int],
    latencies: _Latencies,
    replayed: int = 0,
    back_s: float = 0.0,
) -> Outcome:
    numbers = np.repeat(list(seen), list(seen.values()))
    most = int(numbers.max())
    loaded = {streams: times for streams, times in seen.items() if streams}
    values = np.concatenate([latencies.of(streams) for streams in loaded])
    weights = np.repeat([streams * times for streams, times in loaded.items()], 1000)  # frames
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    return Outcome(
        scenario=scenario,
        replicas=replicas,
        mean=float(numbers.mean()),
        p99=float(np.percentile(numbers, 99)),
        most=most,
        p99_s=float(values[order][np.searchsorted(shares, 0.99)]),
        busiest_p99_s=float(np.percentile(latencies.of(most), 99)),
        used=most * latencies.fps / latencies.measured.most_per_s,
        replayed=replayed,
        back_s=back_s,
    )
