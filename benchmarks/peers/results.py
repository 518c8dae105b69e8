"""What a run leaves behind, the ratios of its rounds, and the targets they are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from statistics import median
from typing import Any

from benchmarks.peers.load import Load

TARGET_FRAMES = "640x480"  # the throughput of sequences, the latency and the bound have targets at this size only


@dataclass(frozen=True)
class Turn:
    """One way's load in one round, from 0."""

    way: str
    round: int
    load: Load


@dataclass(frozen=True)
class Tried:
    """One setting's load, before the rounds; `chosen`: the best one of its way, which was measured."""

    way: str
    setting: str
    load: Load | None
    chosen: bool


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises: statistics.StatisticsError for no values."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Target:
    """A ratio of two ways in the same round, and the bound that its median must reach.

    `figure` takes a load's; `at_least`: the target is a lower bound, else an upper one that must be stayed below;
    `everywhere`: holds for all frame sizes.
    """

    words: str
    ways: tuple[str, str]
    figure: Callable[[Load], float]
    bound: float
    at_least: bool = True
    everywhere: bool = False

    def reached(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio < self.bound


def _fps(load: Load) -> float:
    return load.frames_per_s


def _p99(load: Load) -> float:
    return load.p99_ms


TARGETS = (
    Target("frames/s, clip call to FastAPI", ("c", "a"), _fps, 3.0, everywhere=True),
    Target("frames/s, sequences to FastAPI", ("d", "a"), _fps, 2.0),
    Target("frames/s, clip call to in process", ("c", "e"), _fps, 0.7),
    Target("p99 of a clip, clip call to FastAPI", ("c", "a"), _p99, 1.0, at_least=False),
    Target("p99 of a clip, sequences to FastAPI", ("d", "a"), _p99, 1.0, at_least=False),
)


@dataclass(frozen=True)
class Ratio:
    """A target's ratio as it came out. `bound`: None where this frame size has no such target."""

    words: str
    ways: tuple[str, str]
    spread: Spread
    bound: float | None
    at_least: bool
    passed: bool | None


def ratios(turns: Sequence[Turn], frames: str) -> list[Ratio]:
    """The ratios of all targets whose two ways were measured in the same rounds."""
    loads = {(turn.way, turn.round): turn.load for turn in turns}
    found = []
    for target in TARGETS:
        ours, theirs = target.ways
        shared = sorted(number for way, number in loads if way == ours and (theirs, number) in loads)
        values = [target.figure(loads[ours, n]) / target.figure(loads[theirs, n]) for n in shared]
        if not values:
            continue
        spread = Spread.of(values)
        counts = target.everywhere or frames == TARGET_FRAMES
        found.append(
            Ratio(
                target.words,
                target.ways,
                spread,
                target.bound if counts else None,
                target.at_least,
                target.reached(spread.median) if counts else None,
            )
        )
    return found


def medians(turns: Sequence[Turn], way: str) -> dict[str, float]:
    """A way's figures, each the median of its rounds, errors their sum; empty where it has none."""
    loads = [turn.load for turn in turns if turn.way == way]
    if not loads:
        return {}
    figures: dict[str, Callable[[Load], float]] = {
        "frames_per_s": _fps,
        "p50_ms": lambda load: load.p50_ms,
        "p99_ms": _p99,
        "cpu_ms_per_frame": lambda load: load.cpu_ms_per_frame,
        "rss_peak_mb": lambda load: load.usage.rss_peak_bytes / 1e6,
        "pss_mb": lambda load: load.usage.pss_bytes / 1e6,
        "client_cores": lambda load: load.usage.client_cores,
        "other_cores": lambda load: load.usage.other_cores,
    }
    return {
        **{name: median(figure(load) for load in loads) for name, figure in figures.items()},
        "errors": sum(load.errors for load in loads),
    }


def versions() -> dict[str, str]:
    """Of every package that is installed."""
    found = ((each.metadata["Name"], each.version) for each in metadata.distributions())
    return dict(sorted({name.lower(): version for name, version in found if name}.items()))


def as_json(value: Any) -> Any:
    """A record's fields, for JSON."""
    return asdict(value)
