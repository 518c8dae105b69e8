# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmark: compares the scores of each way, chooses its best setting, then measures round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pages import say
from benchmarks.peers.bench_clips import make_clips, write_clips
from benchmarks.peers.bench_loads import MORE_LOADS, Kind, LoadSettings, offered_clips_per_s
from benchmarks.peers.contest import OFFERED_BY, REFERENCE, WAYS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Load
from benchmarks.peers.results import SMALL, Ratio, Tried, Turn, ratios
from benchmarks.peers.triton_statistics import Counts, StageTimes, stage_times
from benchmarks.peers.ways import Agreement, Inputs, Place, Running, Setting, Way
from eulernet_core.errors import EulerNetError
from eulernet_loadtest.plan import Plan
from eulernet_serving.cpu_precision import has_vnni

# Allowed difference of LIVENESS (0 to 1) with pixel-identical boxes. Two runtimes of equal precision differ by 1e-6; a
# wrong crop, colour order or frame order by 0.1, and so does a box that is one pixel off if the score is near 0.5.
TOLERANCE = 0.001
# With each way's separate boxes, for the median clip, whose score is not near 0.5. Scoring another face exceeds it.
AS_TIMED_TOLERANCE = 0.02


@dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        seconds, warm_up_s: length of a measured load, and of the load before it.
        rounds: number of measured loads of each way.
        concurrency: clips in progress, for all ways.
        tune: try all settings of each way; otherwise use the first.
        tolerance: largest difference of LIVENESS from the clip call's; a way beyond it stops the benchmark.
        most_clips: clips of one video; all by default.
    """

    seconds: float = 4.0
    warm_up_s: float = 1.0
    rounds: int = 3
    concurrency: int = 8
    tune: bool = True
    tolerance: float = TOLERANCE
    most_clips: int | None = None

    @property
    def loads(self) -> LoadSettings:
        """Of the measured loads."""
        return LoadSettings(self.seconds, self.warm_up_s, self.concurrency)


@dataclass(frozen=True)
class AsTimed:
    """Difference of LIVENESS from the clip call's if each way detects the face on the pixels that it decodes."""

    median: float
    largest: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], reference: NDArray[np.float64]) -> AsTimed:
        """Differences at the clips' last frames; both arrays float64 (clips, 4)."""
        differences = np.abs(scores - reference)[:, -1]
        return cls(float(np.median(differences)), float(differences.max()))


@dataclass
class Section:
    """The measurements at one frame size.

    Attributes:
        frames: `640x480`.
        bytes_per_frame: mean size of a JPEG.
        clips: number of different clips.
        liveness: the fp32 clip call's scores after the last frame.
        differences: largest difference of LIVENESS from the fp32 clip call's over all frames, by way; a way without
            comparable scores has none.
        as_timed: the same with each way's separate box.
        tried, turns: loads before the rounds and in them.
        vnni: whether the processor has VNNI, which decides a target.
        stages: Triton's counters over all rounds, by way and model.
    """

    frames: str
    bytes_per_frame: float
    clips: int
    liveness: list[float] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    as_timed: dict[str, AsTimed] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    stages: dict[str, dict[str, Counts]] = field(default_factory=dict)
    vnni: bool = field(default_factory=has_vnni)

    @property
    def ratios(self) -> list[Ratio]:
        """Compared with the targets."""
        return ratios(self.turns, self.frames, self.vnni)

    def stage_times(self, way: str) -> list[StageTimes]:
        """Mean times of Triton's stages; empty for ways without Triton."""
        return stage_times(self.stages.get(way, {}))


class Bench:
    """Measures the ways, one frame size at a time.

    Args:
        repository: a complete model repository.
        videos: the demo videos.
        out: folder for clips and logs.
        ways: the ways to measure.
        inputs: theirs.
        options: rounds, seconds, concurrency.
    """

    def __init__(
        self,
        repository: Path,
        videos: list[Path],
        out: Path,
        ways: Sequence[Way],
        inputs: Inputs,
        options: Options,
    ) -> None:
        self._repository, self._videos, self._out = repository, videos, out
        self._ways, self._inputs, self._options = ways, inputs, options

    def section(self, width: int, height: int) -> Section:
        """Measures all ways at one frame size. Raises: BenchError; the errors of a server that does not start."""
        frames = f"{width}x{height}"
        traffic = make_clips(self._videos, width, height, self._options.most_clips)
        place = Place(
            self._repository, traffic, self._out / "clips" / frames, self._out / "logs" / frames, self._inputs
        )
        write_clips(traffic, place.clips)
        section = Section(frames, traffic.bytes_per_frame, len(traffic.clips()))
        reference = self._reference(place, section)
        chosen = {way.key: self._choose(way, place, section, reference) for way in self._ways}
        for number in range(self._options.rounds):
            for way in self._ways:
                self._turn(way, chosen[way.key], place, section, number)
        return section

    def _reference(self, place: Place, section: Section) -> NDArray[np.float64]:
        """The clip call's scores with the fp32 graphs, the reference for all others."""
        (way,) = (way for way in WAYS if way.key == REFERENCE)
        say(f"{section.frames}: scores of the clip call")
        if place.inputs.fp32 is not None:
            place = replace(place, repository=place.inputs.fp32)
        with way.start(place, way.settings[0]) as running:
            scores = _scores(way, running, exact=True)
        section.liveness = scores[:, -1].tolist()
        return scores

    def _choose(self, way: Way, place: Place, section: Section, reference: NDArray[np.float64]) -> Setting:
        """Compares the scores of a way and tries its settings. Returns the setting with the most frames/s."""
        settings = way.settings if self._options.tune else way.settings[:1]
        if way.key == REFERENCE and not self._inputs.served_int8:  # scored already, and has one setting
            section.differences[way.key], section.as_timed[way.key] = 0.0, AsTimed(0.0, 0.0)
            section.tried.append(Tried(way.key, settings[0].words, None, chosen=True))
            return settings[0]
        loads: list[Load] = []
        for setting in settings:
            with way.start(place, setting) as running:
                difference = self._check(way, running, section, reference)
                if len(settings) > 1:
                    loads.append(self._load(way, running, section, self._options.loads.plan(Kind.AT_ONCE)))
            rate = f", {loads[-1].frames_per_s:.0f} frames/s" if loads else ""
            compared = "scored" if difference is None else f"scores differ by {difference:.1e}"
            say(f"{section.frames}: ({way.key}) {setting.words}: {compared}{rate}")
        best = max(range(len(loads)), key=lambda number: loads[number].frames_per_s) if loads else 0
        for number, setting in enumerate(settings):
            load = loads[number] if loads else None
            section.tried.append(Tried(way.key, setting.words, load, chosen=number == best))
        return settings[best]

    def _check(self, way: Way, running: Running, section: Section, reference: NDArray[np.float64]) -> float | None:
        """Compares a way's scores with the reference. Returns: the largest difference; None if they can't be compared.

        Raises: BenchError.
        """
        name, agreement = f"({way.key}) {way.title}, {section.frames}", way.agreement_with(self._inputs)
        scores = _scores(way, running, exact=True)
        if agreement is Agreement.NONE:
            return None
        equal = agreement is Agreement.EQUAL
        difference = agree(name, scores, reference, self._options.tolerance if equal else np.inf)
        section.differences[way.key] = max(difference, section.differences.get(way.key, 0.0))
        as_timed = AsTimed.of(_scores(way, running, exact=False) if way.own_box else scores, reference)
        if equal and not as_timed.median <= AS_TIMED_TOLERANCE:
            raise BenchError(
                f"{name}: with its separate boxes the median difference of LIVENESS from the clip call's is "
                f"{as_timed.median:.4f}, allowed {AS_TIMED_TOLERANCE}; nothing is reported"
            )
        section.as_timed[way.key] = as_timed
        return difference

    def _load(self, way: Way, running: Running, section: Section, plan: Plan) -> Load:
        try:
            return running.load(plan)
        except BenchError as error:
            raise BenchError(f"({way.key}) {way.title}, {section.frames}, {plan.load}: {error}") from error

    def _turn(self, way: Way, setting: Setting, place: Place, section: Section, number: int) -> None:
        """Measures one way on a fresh server, so that no other way's idle processes take processor time."""
        with way.start(place, setting) as running:
            load = self._load(way, running, section, self._options.loads.plan(Kind.AT_ONCE))
            counted = section.stages.setdefault(way.key, {})
            for model, counts in running.stages.items():
                counted[model] = counted.get(model, Counts()) + counts
            turn = Turn(way.key, number, load, idle=running.idle)
            more = self._more_loads(way, running, section, turn) if section.frames == SMALL else {}
        section.turns.append(replace(turn, more=more))
        say(
            f"{section.frames}: round {number + 1} of {self._options.rounds}: ({way.key}) {load.frames_per_s:.0f} "
            f"frames/s, p99 {load.p99_ms:.0f} ms, {load.errors} errors"
        )

    def _more_loads(self, way: Way, running: Running, section: Section, turn: Turn) -> dict[Kind, Load]:
        """The additional loads of a way. The one at random times needs FastAPI's throughput in the same round."""
        turns = [*section.turns, turn]
        rates = [each.load.frames_per_s for each in turns if (each.way, each.round) == (OFFERED_BY, turn.round)]
        more: dict[Kind, Load] = {}
        for kind in MORE_LOADS.get(way.key, ()):
            if kind is not Kind.OFFERED:
                more[kind] = self._load(way, running, section, self._options.loads.plan(kind))
            elif rates:
                plan = self._options.loads.plan(kind, offered_clips_per_s(rates[0]))
                more[kind] = self._load(way, running, section, plan)
        return more


def _scores(way: Way, running: Running, exact: bool) -> NDArray[np.float64]:
    try:
        return running.scores(exact)
    except EulerNetError as error:
        raise BenchError(f"({way.key}) {way.title}: a clip is not scored: {error}") from error


def agree(name: str, scores: NDArray[np.float64], reference: NDArray[np.float64], tolerance: float) -> float:
    """Compares scores with the clip call's, both float64 (clips, 4).

    Returns: the largest difference.
    Raises: BenchError if it is above `tolerance` or NaN.
    """
    if scores.shape != reference.shape:
        raise BenchError(f"{name}: scores {scores.shape}, the clip call's are {reference.shape}")
    differences = np.abs(scores - reference)
    worst = float(differences.max())
    if not worst <= tolerance:
        clip, frame = np.unravel_index(int(differences.argmax()), differences.shape)
        raise BenchError(
            f"{name}: LIVENESS of clip {clip}, frame {frame} is {scores[clip, frame]:.4f}, the clip call's "
            f"{reference[clip, frame]:.4f}; allowed difference {tolerance}; nothing is reported"
        )
    return worst
