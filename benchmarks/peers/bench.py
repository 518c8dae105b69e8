"""The run: each way's scores against the clip call's, its best setting, then the rounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from eulernet_client.errors import EulerNetError
from eulernet_client.loadtest.plan import Mode, Plan
from numpy.typing import NDArray

from benchmarks.peers.contest import REFERENCE, WAYS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Load
from benchmarks.peers.pictures import make_clips, write_clips
from benchmarks.peers.results import Ratio, Tried, Turn, ratios
from benchmarks.peers.stages import Counts, StageTimes, stage_times
from benchmarks.peers.ways import Place, Running, Setting, Way

# Of LIVENESS, 0 to 1, with boxes that are the same to the pixel. Two runtimes at the same
# precision differ by millionths; a wrong crop, colour or order of frames by tenths, and so does a box that lies one
# pixel off where the score is in doubt.
TOLERANCE = 0.001
# With boxes of their own: of the median clip, which is not in doubt. A way that scored other faces would be beyond it.
AS_TIMED_TOLERANCE = 0.02


@dataclass(frozen=True)
class Options:
    """What the command was asked for.

    Attributes:
        seconds, warm_up_s: of one measured load, and of the load before it that counts nowhere.
        rounds: how often each way is measured.
        concurrency: clips at once, for all ways.
        tune: try all settings of each way; else its first one is taken.
        tolerance: the largest difference of LIVENESS to the clip call's that lets a way be measured.
        most_clips: of one video; all by default.
    """

    seconds: float = 10.0
    warm_up_s: float = 2.0
    rounds: int = 5
    concurrency: int = 8
    tune: bool = True
    tolerance: float = TOLERANCE
    most_clips: int | None = None

    @property
    def plan(self) -> Plan:
        """One measured load."""
        return Plan(Mode.CLIPS, self.concurrency, duration_s=self.seconds, warm_up_s=self.warm_up_s)


@dataclass(frozen=True)
class AsTimed:
    """How far LIVENESS is from the clip call's when each way finds the face on pixels of its own."""

    median: float
    largest: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], reference: NDArray[np.float64]) -> AsTimed:
        """Of the clips' last frames; both float64 (clips, 4)."""
        differences = np.abs(scores - reference)[:, -1]
        return cls(float(np.median(differences)), float(differences.max()))


@dataclass
class Section:
    """All that was measured at one frame size.

    Attributes:
        frames: `640x480`.
        bytes_per_frame: mean size of a JPEG.
        clips: how many different ones.
        liveness: the clip call's scores of them, after their last frame.
        differences: the largest difference of LIVENESS to the clip call's, by way, over all frames of all clips.
        as_timed: the same with each way's own box.
        tried, turns: as measured.
        stages: Triton's counters of ours, over all rounds, by way and model.
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

    @property
    def ratios(self) -> list[Ratio]:
        """Held against the targets."""
        return ratios(self.turns, self.frames)

    def stage_times(self, way: str) -> list[StageTimes]:
        """Of one of our ways; empty for the others."""
        return stage_times(self.stages.get(way, {}))


class Bench:
    """Measures at one frame size after the other.

    Args:
        repository: a complete model repository.
        videos: the demo's.
        out: folder for clips and logs.
        ways: those to measure.
        options: how.
    """

    def __init__(self, repository: Path, videos: list[Path], out: Path, ways: Sequence[Way], options: Options) -> None:
        self._repository, self._videos, self._out = repository, videos, out
        self._ways, self._options = ways, options

    def section(self, width: int, height: int) -> Section:
        """Measures all ways at one frame size. Raises: BenchError, and whatever starting a server raises."""
        frames = f"{width}x{height}"
        traffic = make_clips(self._videos, width, height, self._options.most_clips)
        place = Place(self._repository, traffic, self._out / "clips" / frames, self._out / "logs" / frames)
        write_clips(traffic, place.clips)
        section = Section(frames, traffic.bytes_per_frame, len(traffic.clips()))
        reference = self._reference(place, section)
        chosen = {way.key: self._choose(way, place, section, reference) for way in self._ways}
        for number in range(self._options.rounds):
            for way in self._ways:
                self._turn(way, chosen[way.key], place, section, number)
        return section

    def _reference(self, place: Place, section: Section) -> NDArray[np.float64]:
        """The clip call's scores, which all others must give."""
        (way,) = (way for way in WAYS if way.key == REFERENCE)
        say(f"{section.frames}: scores of the clip call")
        with way.start(place, way.settings[0]) as running:
            scores = _scores(way, running, exact=True)
        section.liveness = scores[:, -1].tolist()
        return scores

    def _choose(self, way: Way, place: Place, section: Section, reference: NDArray[np.float64]) -> Setting:
        """Checks the scores of a way and tries its settings; the one with the most frames/s is chosen."""
        settings = way.settings if self._options.tune else way.settings[:1]
        if way.key == REFERENCE:  # it was asked already, and has one setting
            section.differences[way.key], section.as_timed[way.key] = 0.0, AsTimed(0.0, 0.0)
            section.tried.append(Tried(way.key, settings[0].words, None, chosen=True))
            return settings[0]
        loads: list[Load] = []
        for setting in settings:
            with way.start(place, setting) as running:
                difference = self._check(way, running, section, reference)
                if len(settings) > 1:
                    loads.append(self._load(way, running, section))
            rate = f", {loads[-1].frames_per_s:.0f} frames/s" if loads else ""
            say(f"{section.frames}: ({way.key}) {setting.words}: scores differ by {difference:.1e}{rate}")
        best = max(range(len(loads)), key=lambda number: loads[number].frames_per_s) if loads else 0
        for number, setting in enumerate(settings):
            load = loads[number] if loads else None
            section.tried.append(Tried(way.key, setting.words, load, chosen=number == best))
        return settings[best]

    def _check(self, way: Way, running: Running, section: Section, reference: NDArray[np.float64]) -> float:
        """Holds a way's scores against the clip call's. Returns: the largest difference. Raises: BenchError."""
        name, tolerance = f"({way.key}) {way.title}, {section.frames}", self._options.tolerance
        scores = _scores(way, running, exact=True)
        difference = agree(name, scores, reference, tolerance)
        section.differences[way.key] = max(difference, section.differences.get(way.key, 0.0))
        as_timed = AsTimed.of(_scores(way, running, exact=False) if way.own_box else scores, reference)
        if not as_timed.median <= AS_TIMED_TOLERANCE:
            raise BenchError(
                f"{name}: with boxes of its own its LIVENESS is {as_timed.median:.4f} from the clip call's in the "
                f"median, which may be {AS_TIMED_TOLERANCE}; nothing is reported"
            )
        section.as_timed[way.key] = as_timed
        return difference

    def _load(self, way: Way, running: Running, section: Section) -> Load:
        try:
            return running.load(self._options.plan)
        except BenchError as error:
            raise BenchError(f"({way.key}) {way.title}, {section.frames}: {error}") from error

    def _turn(self, way: Way, setting: Setting, place: Place, section: Section, number: int) -> None:
        """One load of one way on a fresh server, so that no way's idle processes take time from another's."""
        with way.start(place, setting) as running:
            load = self._load(way, running, section)
            counted = section.stages.setdefault(way.key, {})
            for model, counts in running.stages.items():
                counted[model] = counted.get(model, Counts()) + counts
        section.turns.append(Turn(way.key, number, load))
        say(
            f"{section.frames}: round {number + 1} of {self._options.rounds}: ({way.key}) {load.frames_per_s:.0f} "
            f"frames/s, p99 {load.p99_ms:.0f} ms, {load.errors} errors"
        )


def _scores(way: Way, running: Running, exact: bool) -> NDArray[np.float64]:
    try:
        return running.scores(exact)
    except EulerNetError as error:
        raise BenchError(f"({way.key}) {way.title}: a clip is not scored: {error}") from error


def agree(name: str, scores: NDArray[np.float64], reference: NDArray[np.float64], tolerance: float) -> float:
    """Holds scores against the clip call's, both float64 (clips, 4).

    Returns: the largest difference.
    Raises: BenchError where it is beyond `tolerance` or no number.
    """
    if scores.shape != reference.shape:
        raise BenchError(f"{name}: scores {scores.shape} where the clip call gives {reference.shape}")
    differences = np.abs(scores - reference)
    worst = float(differences.max())
    if not worst <= tolerance:
        clip, frame = np.unravel_index(int(differences.argmax()), differences.shape)
        raise BenchError(
            f"{name}: LIVENESS of clip {clip}, frame {frame} is {scores[clip, frame]:.4f}, the clip call's "
            f"{reference[clip, frame]:.4f}: they may differ by {tolerance}; nothing is reported"
        )
    return worst


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
