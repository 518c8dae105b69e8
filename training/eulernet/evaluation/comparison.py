"""Two score tables of the same clips side by side: whether two ways to run one network say the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from eulernet.evaluation.scores import Score, ScoresError


class Clip(NamedTuple):
    """What tells a clip from any other; `start`: its first frame."""

    path: str
    start: int

    def __str__(self) -> str:
        return f"{self.path} from frame {self.start}"


@dataclass(frozen=True)
class Comparison:
    """
    Attributes:
        clips: how many have a score in both tables.
        largest, mean: of the absolute differences of their liveness.
        where: the clip with the largest.
        flipped: those whose liveness lies on different sides of the threshold.
        only_one, only_other: clips that have a score in that table alone.
    """

    clips: int
    largest: float
    mean: float
    where: Clip
    flipped: tuple[Clip, ...]
    only_one: tuple[Clip, ...]
    only_other: tuple[Clip, ...]

    def within(self, tolerance: float) -> bool:
        """Whether the tables say the same: every clip in both, none further apart, none judged differently."""
        return self.largest <= tolerance and not (self.flipped or self.only_one or self.only_other)


def compare(one: Iterable[Score], other: Iterable[Score], threshold: float) -> Comparison:
    """Matches clips by path and first frame. A clip is taken for live when its liveness is at least `threshold`.

    Raises:
        ScoresError: a row without first frame, a clip twice, or no clip in common.
    """
    ours, theirs = _by_clip(one), _by_clip(other)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        examples = f"one has {_example(ours)}, the other {_example(theirs)}"
        raise ScoresError(f"no clip in common: {examples}; score the same data set with the same --clips")
    differences = {clip: abs(ours[clip] - theirs[clip]) for clip in shared}
    where = max(shared, key=differences.__getitem__)
    return Comparison(
        clips=len(shared),
        largest=differences[where],
        mean=sum(differences.values()) / len(shared),
        where=where,
        flipped=tuple(clip for clip in shared if (ours[clip] >= threshold) != (theirs[clip] >= threshold)),
        only_one=tuple(sorted(ours.keys() - theirs.keys())),
        only_other=tuple(sorted(theirs.keys() - ours.keys())),
    )


def _by_clip(scores: Iterable[Score]) -> dict[Clip, float]:
    found: dict[Clip, float] = {}
    for score in scores:
        if score.liveness is None:
            continue
        if score.start is None:
            raise ScoresError(f"{score.video.path}: a row without start; clips are matched by path and first frame")
        clip = Clip(score.video.path.as_posix(), score.start)
        if clip in found:
            raise ScoresError(f"{clip}: two rows; a clip must be there once")
        found[clip] = score.liveness
    return found


def _example(scores: dict[Clip, float]) -> str:
    return repr(str(min(scores))) if scores else "none at all"
