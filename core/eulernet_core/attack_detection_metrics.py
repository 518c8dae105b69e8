# SPDX-License-Identifier: Apache-2.0
"""Error rates of presentation attack detection, after ISO/IEC 30107-3, from liveness scores; no model, no files.

Scores are higher for bona fide, and a presentation is taken for live iff its score >= the threshold. Then
    BPCER(t) = share of the bona fide presentations with score < t   (refused)
    APCER(t) = share of an instrument's presentations with score >= t   (accepted)
Every rate is a step function of t. Nothing is interpolated except `eer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
# Which APCER equals BPCER at a threshold of equal errors: of the attacks pooled, or the highest of the instruments.
EqualErrors = Literal["pooled", "highest"]

FEW_PRESENTATIONS = 50  # of an instrument: with fewer, the highest APCER is often one of chance

# APCER limits of the operating points BPCER10, BPCER20 and BPCER100.
APCER_LIMITS = {"bpcer10": 0.10, "bpcer20": 0.05, "bpcer100": 0.01}
# Every figure that `figures` returns, in the order in which reports show them.
FIGURES = {
    "apcer_max": "APCER, highest of the instruments",
    "apcer_kind_max": "APCER, highest of the kinds",
    "apcer_pooled": "APCER, attacks pooled",
    "bpcer": "BPCER",
    "acer": "ACER, highest instrument",
    "acer_kind": "ACER, highest kind",
    "hter": "HTER, attacks pooled",
    "bpcer10": "BPCER10 (APCER at most 10 %)",
    "bpcer20": "BPCER20 (APCER at most 5 %)",
    "bpcer100": "BPCER100 (APCER at most 1 %)",
    "eer": "EER of these scores",
    "auc": "AUC",
}
_NORMAL = NormalDist()


class MetricsError(ValueError):
    """Error rates can't be computed from these scores; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Sample:
    """Scores of one set, by class; sorted and checked when made.

    Attributes:
        bona_fide: float64 (n,), at least one score.
        attacks: float64 (m,) by instrument, at least one instrument, none of them empty.
        pooled: float64, the attacks of all instruments.
    """

    bona_fide: FloatArray
    attacks: Mapping[str, FloatArray]
    pooled: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        if not self.attacks:
            raise MetricsError("attacks: no instrument; give the scores of at least one")
        attacks = {name: _sorted(scores, f"instrument {name!r}") for name, scores in sorted(self.attacks.items())}
        object.__setattr__(self, "bona_fide", _sorted(self.bona_fide, "bona fide"))
        object.__setattr__(self, "attacks", attacks)
        object.__setattr__(self, "pooled", np.sort(np.concatenate(list(attacks.values()))))

    def kinds(self) -> dict[str, FloatArray]:
        """The attacks by `kind_of` their instrument."""
        groups: dict[str, list[FloatArray]] = {}
        for name, scores in self.attacks.items():
            groups.setdefault(kind_of(name), []).append(scores)
        return {kind: np.sort(np.concatenate(scores)) for kind, scores in groups.items()}


@dataclass(frozen=True)
class Curve:
    """All operating points, from refusing everything (threshold inf) to accepting everything (the lowest score).

    Attributes:
        threshold: float64 (k,), strictly falling: inf, then every distinct score.
        apcer: float64 (k,) with attacks pooled, rising from 0 to 1.
        bpcer: float64 (k,), falling from 1 to 0.
    """

    threshold: FloatArray
    apcer: FloatArray
    bpcer: FloatArray

    @property
    def roc(self) -> tuple[FloatArray, FloatArray]:
        """Abscissa APCER and ordinate 1 - BPCER."""
        return self.apcer, 1.0 - self.bpcer

    @property
    def det(self) -> tuple[FloatArray, FloatArray]:
        """Abscissa APCER and ordinate BPCER, as normal deviates; -inf for a rate of 0, inf for 1."""
        return normal_deviate(self.apcer), normal_deviate(self.bpcer)


def kind_of(instrument: str) -> str:
    """`print` for `print2`: the name without the number at its end, as OULU-NPU's protocol lists group attacks."""
    return instrument.rstrip("0123456789").rstrip(" _-") or instrument


def apcer(attack_scores: FloatArray, threshold: float) -> float:
    """Share of `attack_scores`, of one instrument or pooled, that the threshold accepts."""
    return float(np.mean(attack_scores >= threshold))


def bpcer(bona_fide_scores: FloatArray, threshold: float) -> float:
    """Share of `bona_fide_scores` that the threshold refuses."""
    return float(np.mean(bona_fide_scores < threshold))


def curve(sample: Sample) -> Curve:
    """All operating points of a sample, with attacks pooled."""
    threshold = _thresholds(sample)
    refused = np.searchsorted(sample.bona_fide, threshold, "left") / len(sample.bona_fide)
    return Curve(threshold, _accepted(sample.pooled, threshold), refused)


def eer(sample: Sample) -> float:
    """Equal error rate, attacks pooled: where the straight line between the two operating points next to
    APCER = BPCER meets it. The same as intersecting the usual ROC polygon with its falling diagonal."""
    points = curve(sample)
    difference = points.apcer - points.bpcer  # rises strictly from -1 to 1: each distinct score moves a rate
    after = int(np.searchsorted(difference, 0.0))
    before = after - 1
    part = -difference[before] / (difference[after] - difference[before])
    return float(points.apcer[before] + part * (points.apcer[after] - points.apcer[before]))


def eer_threshold(sample: Sample, equal: EqualErrors = "pooled") -> float:
    """Threshold at which APCER and BPCER are equal.

    The operating point with the smallest |APCER - BPCER|; of two with the same, the one with the smaller sum, and of
    two with the same sum the higher threshold, which accepts fewer attacks. All thresholds between two neighbouring
    scores decide alike, so the middle of that gap is returned. At the ends there is no gap: the lowest score accepts
    everything, the next number above the highest score refuses everything.

    Args:
        equal: `pooled` for the APCER of the attacks pooled, as in most papers; easy instruments then hide a hard one.
            `highest` for the highest APCER of the instruments with at least FEW_PRESENTATIONS and of the attacks
            pooled, the APCER of ISO/IEC 30107-3 and of ACER.
    """
    points = curve(sample)
    accepted = points.apcer
    if equal == "highest":
        enough = [scores for scores in sample.attacks.values() if len(scores) >= FEW_PRESENTATIONS]
        accepted = np.max([accepted, *(_accepted(scores, points.threshold) for scores in enough)], axis=0)
    # Rounded, so that a tie is one. Thresholds fall along the curve: the first of equals is the highest threshold.
    difference, total = np.abs(accepted - points.bpcer).round(12), (accepted + points.bpcer).round(12)
    best = int(np.lexsort((total, difference))[0])
    if best == 0:
        return math.nextafter(float(points.threshold[1]), math.inf)
    upper = float(points.threshold[best])
    if best + 1 == len(points.threshold):
        return upper
    lower = float(points.threshold[best + 1])
    middle = lower + (upper - lower) / 2
    return middle if lower < middle <= upper else upper  # neighbouring floats have no middle


def bpcer_at_apcer(sample: Sample, limit: float) -> float:
    """Lowest BPCER among the operating points where no instrument's APCER is above `limit`."""
    if not 0.0 <= limit <= 1.0:
        raise MetricsError(f"APCER limit {limit}: must lie between 0 and 1, such as 0.05")
    threshold = _thresholds(sample)
    worst = np.max([_accepted(scores, threshold) for scores in sample.attacks.values()], axis=0)
    return bpcer(sample.bona_fide, float(threshold[worst <= limit][-1]))


def auc(sample: Sample) -> float:
    """Area under the ROC: the probability that a bona fide score is above an attack's, half a win for a tie."""
    below = np.searchsorted(sample.pooled, sample.bona_fide, "left")
    not_above = np.searchsorted(sample.pooled, sample.bona_fide, "right")
    return float(int((below + not_above).sum()) / (2 * len(sample.pooled) * len(sample.bona_fide)))


def figures(sample: Sample, threshold: float) -> dict[str, float]:
    """Every figure of FIGURES. BPCER10/20/100, EER and AUC look at the sample alone, the rest at `threshold`."""
    if not math.isfinite(threshold):
        raise MetricsError(f"threshold {threshold}: not a number to compare scores with; take it from the dev scores")
    highest = max(apcer(scores, threshold) for scores in sample.attacks.values())
    highest_kind = max(apcer(scores, threshold) for scores in sample.kinds().values())
    pooled, refused = apcer(sample.pooled, threshold), bpcer(sample.bona_fide, threshold)
    return {
        "apcer_max": highest,
        "apcer_kind_max": highest_kind,
        "apcer_pooled": pooled,
        "bpcer": refused,
        "acer": (highest + refused) / 2,
        "acer_kind": (highest_kind + refused) / 2,
        "hter": (pooled + refused) / 2,
        **{name: bpcer_at_apcer(sample, limit) for name, limit in APCER_LIMITS.items()},
        "eer": eer(sample),
        "auc": auc(sample),
    }


def normal_deviate(rates: FloatArray) -> FloatArray:
    """The rates as quantiles of the standard normal distribution, the axes of a DET plot."""
    inner = [_NORMAL.inv_cdf(rate) if 0.0 < rate < 1.0 else math.copysign(math.inf, rate - 0.5) for rate in rates]
    return np.array(inner, np.float64)


def _thresholds(sample: Sample) -> FloatArray:
    """inf, then every distinct score, falling."""
    distinct = np.unique(np.concatenate([sample.bona_fide, sample.pooled]))
    return np.concatenate([[np.inf], distinct[::-1]])


def _accepted(ascending: FloatArray, threshold: FloatArray) -> FloatArray:
    return (len(ascending) - np.searchsorted(ascending, threshold, "left")) / len(ascending)


def _sorted(scores: ArrayLike, what: str) -> FloatArray:
    found = _finite(scores, what)
    if not len(found):
        raise MetricsError(f"{what}: no score; an error rate needs at least one presentation of it")
    return np.sort(found)


def _finite(scores: ArrayLike, what: str) -> FloatArray:
    given: NDArray[Any] = np.asarray(scores)
    if given.ndim != 1 or given.dtype.kind not in "fiu":
        raise MetricsError(f"{what}: {given.dtype} {given.shape}; give a flat list of numbers")
    found = given.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise MetricsError(
            f"{what}: score {bad[0]} is {found[bad[0]]} ({len(bad)} in all); leave these out or score them again"
        )
    return found
