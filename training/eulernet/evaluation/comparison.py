# SPDX-License-Identifier: Apache-2.0
"""Compares two score tables of the same clips, such as the scores of one network on two runtimes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from eulernet.evaluation.scores import Score, ScoresError


class Clip(NamedTuple):
    """Identity of a clip; `start`: the number of its first frame."""

    path: str
    start: int

    def __str__(self) -> str:
        return f"{self.path} from frame {self.start}"


@dataclass(frozen=True)
class Comparison:
    """
    Attributes:
        clips: number of clips with a score in both tables.
        largest, mean: of the absolute differences of their liveness.
        where: the clip with the largest difference.
        flipped: clips with different verdicts at the threshold.
        only_one, only_other: clips with a score in only that table.
    """

    clips: int
    largest: float
    mean: float
    where: Clip
    flipped: tuple[Clip, ...]
    only_one: tuple[Clip, ...]
    only_other: tuple[Clip, ...]

    def within(self, tolerance: float) -> bool:
        """Whether all clips are in both tables, with differences up to `tolerance` and the same verdicts."""
        return self.largest <= tolerance and not (self.flipped or self.only_one or self.only_other)


def compare(one: Iterable[Score], other: Iterable[Score], threshold: float) -> Comparison:
    """Matches clips by path and first frame. The verdict is live if the liveness is at least `threshold`.

    Raises:
        ScoresError: a row has no first frame, a clip has two rows, or no clip is in both tables.
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
            raise ScoresError(f"{clip}: two rows; a clip must have one row")
        found[clip] = score.liveness
    return found


def _example(scores: dict[Clip, float]) -> str:
    return repr(str(min(scores))) if scores else "none at all"
