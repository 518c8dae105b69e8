# SPDX-License-Identifier: Apache-2.0
"""Results of the rounds, and their ratios compared with the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median

from benchmarks.peers.load import Load

TARGET_FRAMES = "640x480"  # the one size with targets for sequences, latency and the bound


@dataclass(frozen=True)
class Turn:
    """One way's load in one round; `round` counts from 0."""

    way: str
    round: int
    load: Load


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


@dataclass(frozen=True)
class Target:
    """A ratio of two ways in the same round, and the bound for its median.

    `figure`: takes the value from a load; `at_least`: a lower bound, which equality reaches; otherwise an upper bound,
    which equality exceeds; `everywhere`: applies to all frame sizes.
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
    """The measured ratio of a target. `bound`: None if the target does not apply to this frame size."""

    words: str
    ways: tuple[str, str]
    spread: Spread
    bound: float | None
    at_least: bool
    passed: bool | None


def ratios(turns: Sequence[Turn], frames: str) -> list[Ratio]:
    """The ratios of all targets, over the rounds with both ways."""
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
    """A way's values: medians of its rounds, the sum of the errors; empty without rounds."""
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
    """Versions of all installed packages."""
    found = ((each.metadata["Name"], each.version) for each in metadata.distributions())
    return dict(sorted({name.lower(): version for name, version in found if name}.items()))
