# SPDX-License-Identifier: Apache-2.0
"""Results of the rounds, and their ratios compared with the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median

from benchmarks.peers.bench_loads import MORE_LOADS, Kind
from benchmarks.peers.load import Idle, Load

SMALL, LARGE = "640x480", "1920x1080"  # the frame sizes with targets; all additional loads are measured at SMALL
# Of the clip call's frames/s to FastAPI's at SMALL. int8 gains most with VNNI; see eulernet_serving.cpu_precision.
WITH_VNNI, WITHOUT_VNNI = 1.5, 1.3
# This project's servers: the ways of the clip call and of sequences, and how the report names the server.
SERVERS = (("c", "d", ""), ("c1", "d1", ", one stage"))
# Sequences: of four frames; of a camera's length, with one frame in flight, with several, with several in a request.
STREAMS = {
    "c": {
        "d": "sequences of four frames",
        "d48": "sequences",
        "dp": "sequences with four frames in flight",
        "d4": "sequences in chunks",
    },
    "c1": {
        "d1": "sequences of four frames",
        "d148": "sequences",
        "d1p": "sequences with four frames in flight",
        "d14": "sequences in chunks",
    },
}


@dataclass(frozen=True)
class Turn:
    """One way's loads in one round.

    Attributes:
        round: counts from 0.
        load: with several clips at once; `more`: the additional loads.
        idle: of a server.
    """

    way: str
    round: int
    load: Load
    more: Mapping[Kind, Load] = field(default_factory=dict)
    idle: Idle | None = None

    def of(self, kind: Kind) -> Load | None:
        """The load of a kind; None if it was not measured."""
        return self.load if kind is Kind.AT_ONCE else self.more.get(kind)


@dataclass(frozen=True)
class Tried:
    """One setting's load before the rounds. `chosen`: the best of its way, measured in the rounds."""

    way: str
    setting: str
    load: Load | None
    chosen: bool


@dataclass(frozen=True)
class Spread:
    """Median and range over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises: statistics.StatisticsError without values."""
        return cls(median(values), min(values), max(values))


Figure = Callable[[Turn], float | None]


@dataclass(frozen=True)
class Target:
    """A ratio of two ways in the same round, or a value of one way, and the bound for its median.

    Attributes:
        words: for the report.
        ways: ours and the peer's; ours alone for a value.
        figure: takes the value from a turn; None if it was not measured.
        bounds: by frame size; without one the ratio is reported alone. A value that equals its bound reaches it.
        at_least: whether the bounds are lower bounds.
        aims: better values to aim at, by frame size.
        kind: the load whose failed requests count against it.
    """

    words: str
    ways: tuple[str, ...]
    figure: Figure
    bounds: Mapping[str, float]
    at_least: bool = True
    aims: Mapping[str, float] = field(default_factory=dict)
    kind: Kind | None = None

    def reached(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound

    def value(self, turns: Mapping[str, Turn]) -> float | None:
        """Of one round's turns, by way; None if it was not measured in the round."""
        values = [self.figure(turns[way]) if way in turns else None for way in self.ways]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return known[0] / known[1] if len(known) == 2 else known[0]


def _of_load(kind: Kind, value: Callable[[Load], float]) -> Figure:
    return lambda turn: None if (load := turn.of(kind)) is None else value(load)


def _of_idle(value: Callable[[Idle], float]) -> Figure:
    return lambda turn: None if turn.idle is None else value(turn.idle)


def _fps(kind: Kind) -> Figure:
    return _of_load(kind, lambda load: load.frames_per_s)


def targets(vnni: bool) -> tuple[Target, ...]:
    """All targets. `vnni`: whether the processor has the instructions that int8 gains most from."""
    return (*_throughput_targets(vnni), *_latency_targets(), *_idle_targets())


def _throughput_targets(vnni: bool) -> Iterator[Target]:
    to_fastapi, aims = {SMALL: WITH_VNNI if vnni else WITHOUT_VNNI, LARGE: 1.6}, {SMALL: 1.8, LARGE: 2.0}
    for clips, _, of in SERVERS:
        for words, ways, bounds in (
            ("clip call to FastAPI", (clips, "a"), to_fastapi),
            ("clip call to FastAPI with int8", (clips, "a8"), {}),
            ("clip call to the earlier commit's", (clips, "c0"), {SMALL: 2.0}),
            ("clip call to Silent-Face's way", (clips, "f"), {SMALL: 3.0}),
            ("clip call to Silent-Face's way with its own detector", (clips, "fo"), {SMALL: 3.0}),
            ("clip call to in process", (clips, "e"), {SMALL: 0.7}),
        ):
            better = aims if ways == (clips, "a") else {}
            yield Target(f"frames/s, {words}{of}", ways, _fps(Kind.AT_ONCE), bounds, aims=better, kind=Kind.AT_ONCE)
        for each, name in STREAMS[clips].items():
            for kind, load in ((Kind.AT_ONCE, ""), (Kind.TWICE, ", twice as many at once")):
                words = f"frames/s, {name} to clip call{load}{of}"
                yield Target(words, (each, clips), _fps(kind), {SMALL: 0.9}, kind=kind)
    (clips, streams, _), (clips_1, streams_1, _) = SERVERS
    for words, ways in (("clip call", (clips_1, clips)), ("sequences", (streams_1, streams))):
        yield Target(f"frames/s, {words}, one stage to the ensemble", ways, _fps(Kind.AT_ONCE), {})


def _latency_targets() -> Iterator[Target]:
    p99, p50 = _of_load(Kind.OFFERED, lambda load: load.p99_ms), _of_load(Kind.ALONE, lambda load: load.p50_ms)
    for clips, _, of in SERVERS:
        sequences = {name: way for way, name in STREAMS[clips].items() if Kind.OFFERED in MORE_LOADS[way]}
        for words, way in {"clip call": clips, **sequences}.items():
            words = f"p99 of a clip at random times, {words} to FastAPI{of}"
            yield Target(words, (way, "a"), p99, {SMALL: 0.6}, at_least=False, kind=Kind.OFFERED)
        words = f"p50 of one clip alone, clip call to FastAPI{of}"
        yield Target(words, (clips, "a"), p50, {SMALL: 1.0}, at_least=False, kind=Kind.ALONE)


def _idle_targets() -> Iterator[Target]:
    pss_mb, ready_s = _of_idle(lambda idle: idle.pss_bytes / 1e6), _of_idle(lambda idle: idle.ready_s)
    for clips, _, of in SERVERS:
        yield Target(f"PSS of the idle server, MB{of}", (clips,), pss_mb, {SMALL: 500.0}, at_least=False)
        yield Target(f"from the server's start to ready, s{of}", (clips,), ready_s, {SMALL: 2.0}, at_least=False)


@dataclass(frozen=True)
class Ratio:
    """The measured value of a target.

    Attributes:
        bound, aim: None if the target has none for this frame size.
        errors: requests of ours without a score; with any the target is missed.
    """

    words: str
    ways: tuple[str, ...]
    spread: Spread
    bound: float | None
    at_least: bool
    passed: bool | None
    aim: float | None = None
    errors: int = 0


def ratios(turns: Sequence[Turn], frames: str, vnni: bool) -> list[Ratio]:
    """The values of all targets, over the rounds in which they were measured."""
    rounds: dict[int, dict[str, Turn]] = {}
    for turn in turns:
        rounds.setdefault(turn.round, {})[turn.way] = turn
    found = []
    for target in targets(vnni):
        values = {number: value for number, each in rounds.items() if (value := target.value(each)) is not None}
        if not values:
            continue
        spread, bound = Spread.of(list(values.values())), target.bounds.get(frames)
        ours = [rounds[number][target.ways[0]].of(target.kind) for number in values] if target.kind else []
        errors = sum(load.errors for load in ours if load is not None)
        passed = None if bound is None else target.reached(spread.median, bound) and not errors
        aim = target.aims.get(frames)
        found.append(Ratio(target.words, target.ways, spread, bound, target.at_least, passed, aim, errors))
    return found


_OF_A_LOAD: dict[str, Callable[[Load], float]] = {
    "frames_per_s": lambda load: load.frames_per_s,
    "p50_ms": lambda load: load.p50_ms,
    "p99_ms": lambda load: load.p99_ms,
    "cpu_ms_per_frame": lambda load: load.cpu_ms_per_frame,
    "rss_peak_mb": lambda load: load.usage.rss_peak_bytes / 1e6,
    "pss_mb": lambda load: load.usage.pss_bytes / 1e6,
    "client_cores": lambda load: load.usage.client_cores,
    "other_cores": lambda load: load.usage.other_cores,
}


def medians(turns: Sequence[Turn], way: str, kind: Kind = Kind.AT_ONCE) -> dict[str, float]:
    """A way's values with one kind of load: medians of its rounds, the sum of the errors; empty without such a load.
    Those of a server have `ready_s` and `idle_pss_mb` too."""
    of_way = [turn for turn in turns if turn.way == way]
    loads = [load for turn in of_way if (load := turn.of(kind)) is not None]
    if not loads:
        return {}
    idle = [turn.idle for turn in of_way if turn.idle is not None]
    started = (
        {
            "ready_s": median(each.ready_s for each in idle),
            "idle_pss_mb": median(each.pss_bytes for each in idle) / 1e6,
        }
        if idle
        else {}
    )
    return {
        **{name: median(figure(load) for load in loads) for name, figure in _OF_A_LOAD.items()},
        "errors": sum(load.errors for load in loads),
        **started,
    }


def versions() -> dict[str, str]:
    """Versions of all installed packages."""
    found = ((each.metadata["Name"], each.version) for each in metadata.distributions())
    return dict(sorted({name.lower(): version for name, version in found if name}.items()))
