# SPDX-License-Identifier: Apache-2.0
"""Error rates by level with intervals, and the thresholds that follow from them. Pure functions of the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.quality.degradations import BLURS_PX, CRFS, RECORDED, SIDE_CRFS, SIDES_PX, Level, levels
from eulernet.datasets.oulu import Name
from eulernet_core.attack_detection_metrics import Sample, apcer, bpcer, eer
from eulernet_core.weights_label import LIVE_THRESHOLD

CONFIDENCE = 0.95
BINS = 12
MOST_FLAGGED = 0.02  # of the recorded clips that MIN_DETAIL may flag
Records = Mapping[str, Sequence[dict[str, Any]]]  # by video, one record for each level


@dataclass(frozen=True)
class Rate:
    """An error rate as a share, with its 95 % interval (Wilson 1927) for independent clips."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, count: int) -> Rate:
        """The rate of `count` clips."""
        z2 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
        middle, spread = value + z2 / (2 * count), (z2 * (value * (1 - value) + z2 / (4 * count)) / count) ** 0.5
        return cls(value, *(max(0.0, (middle + sign * spread) / (1 + z2 / count)) for sign in (-1, 1)))


@dataclass(frozen=True)
class Row:
    """One level: its error rates at LIVE_THRESHOLD and its equal error rate, and what was measured beside them.

    Attributes:
        videos: number of clips, one a video.
        side_px, kbit_s, detail: medians; `detail`: of the clips' lowest frames.
        not_found: share of the clips in whose first frame the detector finds no face.
    """

    level: str
    videos: int
    apcer: Rate
    bpcer: Rate
    eer: float
    side_px: float
    kbit_s: float | None
    detail: float
    not_found: float


@dataclass(frozen=True)
class Bin:
    """Clips with similar detail. `detail`: median; `lowest`: of the bin; `apcer`, `bpcer`: None without such clips."""

    detail: float
    lowest: float
    apcer: float | None
    bpcer: float | None


@dataclass(frozen=True)
class Flagged:
    """Flags of one level's clips. `small`, `degraded`: shares; `wrong`: number of wrong verdicts, `wrong_flagged`: of
    them with a flag."""

    level: str
    small: float
    degraded: float
    wrong: int
    wrong_flagged: int


@dataclass(frozen=True)
class View:
    """The content of the page and of its plot.

    Attributes:
        recorded: the clips as they were recorded.
        compressed, blurred: full size, by rate factor and by blur.
        sizes: by rate factor, the largest size first.
        bins: the clips of at least `min_face_px`, by detail.
        min_face_px, min_detail: the thresholds by the rule.
        flagged: by level.
    """

    recorded: Row
    compressed: list[Row]
    sizes: dict[int, list[Row]]
    blurred: list[Row]
    bins: list[Bin]
    min_face_px: int
    min_detail: float
    flagged: list[Flagged]


def view(records: Records) -> View:
    """Everything that the page shows. Raises: MetricsError if a class has no clip."""
    by_level = {level.name: row(records, level.name) for level in levels()}
    recorded = by_level[RECORDED]
    sizes = {crf: [by_level[Level(side, crf).name] for side in (None, *SIDES_PX)] for crf in SIDE_CRFS}
    min_face_px = smallest_side(sizes[SIDE_CRFS[0]], recorded)
    clips = [
        (name, record)
        for level in levels()
        for name, record in _of_level(records, level.name)
        if record["side_px"] >= min_face_px
    ]
    bins = detail_bins(clips)
    min_detail = least_detail(bins, recorded, [lowest(record) for _, record in _of_level(records, RECORDED)])
    return View(
        recorded=recorded,
        compressed=[by_level[Level(crf=crf).name] for crf in CRFS],
        sizes=sizes,
        blurred=[by_level[Level(blur_px=blur).name] for blur in BLURS_PX],
        bins=bins,
        min_face_px=min_face_px,
        min_detail=min_detail,
        flagged=[flagged(level, _of_level(records, level), min_face_px, min_detail) for level in by_level],
    )


def smallest_side(sizes: Sequence[Row], recorded: Row) -> int:
    """The smallest side, px, at which and above which every level is `within`. `sizes`: the largest first."""
    good = list(takewhile(lambda each: within(each.apcer.value, each.bpcer.value, recorded), sizes))
    return int((good[-1] if good else sizes[0]).side_px)


def detail_bins(clips: Sequence[tuple[Name, dict[str, Any]]]) -> list[Bin]:
    """Clips in BINS groups of the same size, by their detail, the highest first."""
    ordered = sorted(clips, key=lambda clip: lowest(clip[1]), reverse=True)
    found = []
    for part in np.array_split(np.arange(len(ordered)), BINS):
        group = [ordered[index] for index in part]
        wrong: dict[bool, list[bool]] = {True: [], False: []}
        for name, record in group:
            wrong[name.file == 1].append(is_wrong(name, record))
        values = [lowest(record) for _, record in group]
        found.append(
            Bin(
                detail=float(np.median(values)),
                lowest=min(values),
                apcer=float(np.mean(wrong[False])) if wrong[False] else None,
                bpcer=float(np.mean(wrong[True])) if wrong[True] else None,
            )
        )
    return found


def least_detail(bins: Sequence[Bin], recorded: Row, recorded_detail: Sequence[float]) -> float:
    """The lowest detail down to which every bin is `within`, but at most what flags MOST_FLAGGED of the recorded."""
    good = list(takewhile(lambda each: within(each.apcer, each.bpcer, recorded), bins))
    most = float(np.quantile(recorded_detail, MOST_FLAGGED, method="lower"))
    return math.floor(100 * min(good[-1].lowest if good else most, most)) / 100


def flagged(level: str, clips: Sequence[tuple[Name, dict[str, Any]]], min_face_px: int, min_detail: float) -> Flagged:
    """The flags of a level's clips; a clip has a flag if one of its frames has it."""
    small = np.array([record["side_px"] < min_face_px for _, record in clips])
    degraded = np.array([lowest(record) < min_detail for _, record in clips])
    wrong = np.array([is_wrong(name, record) for name, record in clips])
    both = int((wrong & (small | degraded)).sum())
    return Flagged(level, float(small.mean()), float(degraded.mean()), int(wrong.sum()), both)


def row(records: Records, level: str) -> Row:
    """The row of one level. Raises: MetricsError if a class has no clip."""
    clips = _of_level(records, level)
    sample = Sample(
        np.array([record["liveness"] for name, record in clips if name.file == 1]),
        {"attack": np.array([record["liveness"] for name, record in clips if name.file != 1])},
    )
    kbit_s = [record["kbit_s"] for _, record in clips if record["kbit_s"] is not None]
    return Row(
        level=level,
        videos=len(clips),
        apcer=Rate.of(apcer(sample.pooled, LIVE_THRESHOLD), len(sample.pooled)),
        bpcer=Rate.of(bpcer(sample.bona_fide, LIVE_THRESHOLD), len(sample.bona_fide)),
        eer=eer(sample),
        side_px=float(np.median([record["side_px"] for _, record in clips])),
        kbit_s=float(np.median(kbit_s)) if kbit_s else None,
        detail=float(np.median([lowest(record) for _, record in clips])),
        not_found=float(np.mean([not record["found"] for _, record in clips])),
    )


def lowest(record: Mapping[str, Any]) -> float:
    """Detail of a clip's frame with the least."""
    return float(min(record["detail"]))


def is_wrong(name: Name, record: Mapping[str, Any]) -> bool:
    """Whether the verdict about a clip is wrong."""
    return bool((record["liveness"] >= LIVE_THRESHOLD) != (name.file == 1))


def within(apcer: float | None, bpcer: float | None, recorded: Row) -> bool:
    """Whether error rates are at most the upper limits of the recorded clips' intervals; an unknown rate is."""
    limits = (recorded.apcer.high, recorded.bpcer.high)
    return all(value is None or value <= limit for value, limit in zip((apcer, bpcer), limits, strict=True))


def flags_of(case: Mapping[str, Any], view: View) -> dict[str, Any]:
    """The flags of one clip by the thresholds of the view, and whether its verdict is live."""
    return {
        "small": case["side_px"] < view.min_face_px,
        "degraded": lowest(case) < view.min_detail,
        "live": case["liveness"] >= LIVE_THRESHOLD,
        "lowest": lowest(case),
    }


def rate_text(rate: Rate) -> str:
    """`12 % (5 to 20 %)`."""
    return f"{100 * rate.value:.0f} % ({100 * rate.low:.0f} to {100 * rate.high:.0f} %)"


def _of_level(records: Records, level: str) -> list[tuple[Name, dict[str, Any]]]:
    """The clips of one level with the names of their videos."""
    found = []
    for video, measured in sorted(records.items()):
        name = Name.parse(video)
        found += [(name, record) for record in measured if name is not None and record["level"] == level]
    return found
