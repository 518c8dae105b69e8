# SPDX-License-Identifier: Apache-2.0
"""What a candidate would change: verdicts, error rates after ISO/IEC 30107-3, latency; and limits for these changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eulernet_client.rollout.presentation_labels import Presentation, label_of, sample
from eulernet_client.rollout.score_pairs import Pair, percentile
from eulernet_core.attack_detection_metrics import MetricsError, Sample, figures

RATES = ("apcer_max", "bpcer", "acer")  # of eulernet_core.attack_detection_metrics.FIGURES
PERCENTILES = {"p50_s": 0.50, "p95_s": 0.95}


@dataclass(frozen=True)
class Limits:
    """The largest changes that may pass; None: no limit.

    Attributes:
        changed_percent: share of the sources whose verdict changes.
        difference: of any source's liveness.
        acer_rise_points: of the candidate's ACER over the stable one's.
        latency_rise_percent: of the candidate's p95 over the stable one's.
    """

    changed_percent: float | None = None
    difference: float | None = None
    acer_rise_points: float | None = None
    latency_rise_percent: float | None = None


@dataclass(frozen=True)
class Rates:
    """Error rates of both versions over the labelled sources that both have scored.

    Attributes:
        bona_fide, attacks: number of these sources.
        stable, candidate: the rates of RATES, 0 to 1.
        mended, spoilt: sources that only the candidate, or only the stable version, judges correctly.
    """

    bona_fide: int
    attacks: int
    stable: Mapping[str, float]
    candidate: Mapping[str, float]
    mended: int
    spoilt: int

    @property
    def acer_rise_points(self) -> float:
        """Candidate's ACER less the stable one's, in percentage points."""
        return 100 * (self.candidate["acer"] - self.stable["acer"])


@dataclass(frozen=True)
class Comparison:
    """The changes.

    Attributes:
        sources: number of pairs.
        changes: number of sources by (stable verdict, candidate's verdict), where they differ.
        changed: the sources whose verdict changes, the largest difference first.
        largest, mean: of the absolute differences of liveness; None if no source has both scores.
        rates: None without labels.
        latency: percentiles of both versions, s; None where either was not measured.
    """

    sources: int
    changes: Mapping[tuple[str, str], int]
    changed: tuple[Pair, ...]
    largest: float | None
    mean: float | None
    rates: Rates | None = None
    latency: Mapping[str, tuple[float, float]] | None = None
    threshold: float = field(default=0.0)

    @property
    def changed_percent(self) -> float:
        """Share of the sources whose verdict changes."""
        return 100 * len(self.changed) / self.sources

    @property
    def latency_rise_percent(self) -> float | None:
        """Of the candidate's p95 over the stable one's."""
        if self.latency is None or not self.latency["p95_s"][0]:
            return None
        stable, candidate = self.latency["p95_s"]
        return 100 * (candidate / stable - 1)

    def beyond(self, limits: Limits) -> list[str]:
        """A line for each limit that is exceeded, or that can't be checked since its figure is missing."""
        rise = None if self.rates is None else self.rates.acer_rise_points
        checked = (
            ("sources with another verdict", self.changed_percent, limits.changed_percent, "%"),
            ("largest difference of liveness", self.largest, limits.difference, ""),
            ("rise of ACER", rise, limits.acer_rise_points, "points"),
            ("rise of the p95 latency", self.latency_rise_percent, limits.latency_rise_percent, "%"),
        )
        lines = []
        for name, value, limit, unit in checked:
            if limit is not None and value is None:
                lines.append(f"{name}: not measured, limit {limit:g} {unit}".rstrip())
            elif limit is not None and value is not None and value > limit:
                lines.append(f"{name}: {value:.4g} {unit}, limit {limit:g} {unit}".replace(" ,", ",").rstrip())
        return lines

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sources": self.sources,
            "threshold": self.threshold,
            "changed_percent": self.changed_percent,
            "changes": [{"stable": s, "candidate": c, "sources": n} for (s, c), n in self.changes.items()],
            "changed": [
                {"path": each.name, "stable": each.stable.liveness, "candidate": each.candidate.liveness}
                for each in self.changed
            ],
            "largest_difference": self.largest,
            "mean_difference": self.mean,
            "rates": self.rates and {**asdict(self.rates), "acer_rise_points": self.rates.acer_rise_points},
            "latency": self.latency and {name: list(both) for name, both in self.latency.items()},
            "latency_rise_percent": self.latency_rise_percent,
        }


def compare(pairs: Sequence[Pair], threshold: float, labels: Mapping[str, Presentation] | None = None) -> Comparison:
    """Compares the answers.

    Args:
        pairs: at least one.
        threshold: lowest liveness with the verdict live.
        labels: of `read_labels`, None for none.

    Raises:
        MetricsError: the labelled sources are not of both classes.
        ValueError: there is no pair.
    """
    if not pairs:
        raise ValueError("no source to compare: name videos, or two score tables")
    verdicts = [(each.stable.verdict(threshold), each.candidate.verdict(threshold)) for each in pairs]
    changed = [pair for pair, (stable, candidate) in zip(pairs, verdicts, strict=True) if stable != candidate]
    differences = [abs(each.difference) for each in pairs if each.difference is not None]
    return Comparison(
        sources=len(pairs),
        changes=dict(Counter(both for both in verdicts if both[0] != both[1]).most_common()),
        changed=tuple(sorted(changed, key=lambda pair: -abs(pair.difference or 0.0))),
        largest=max(differences, default=None),
        mean=sum(differences) / len(differences) if differences else None,
        rates=None if labels is None else _rates(pairs, threshold, labels),
        latency=_latency(pairs),
        threshold=threshold,
    )


def _rates(pairs: Sequence[Pair], threshold: float, labels: Mapping[str, Presentation]) -> Rates:
    stable, candidate = [], []
    mended = spoilt = 0
    for pair in pairs:
        presentation = label_of(pair.name, labels)
        if presentation is None or pair.stable.liveness is None or pair.candidate.liveness is None:
            continue
        stable.append((pair.stable.liveness, presentation))
        candidate.append((pair.candidate.liveness, presentation))
        was, will = (
            ((each.liveness or 0.0) >= threshold) == presentation.live for each in (pair.stable, pair.candidate)
        )
        mended += will and not was
        spoilt += was and not will
    if not stable:
        raise MetricsError(
            "no source that both versions scored has a label; compare the paths in the labels with theirs"
        )
    before, after = sample(stable), sample(candidate)
    return Rates(
        len(before.bona_fide), len(before.pooled), _at(before, threshold), _at(after, threshold), mended, spoilt
    )


def _at(scores: Sample, threshold: float) -> dict[str, float]:
    found = figures(scores, threshold)
    return {name: found[name] for name in RATES}


def _latency(pairs: Sequence[Pair]) -> dict[str, tuple[float, float]] | None:
    """Percentiles over the sources that both versions were measured on."""
    both = [
        (each.stable.seconds, each.candidate.seconds)
        for each in pairs
        if each.stable.seconds is not None and each.candidate.seconds is not None
    ]
    found: dict[str, tuple[float, float]] = {}
    for name, share in PERCENTILES.items():
        stable, candidate = (percentile((pair[side] for pair in both), share) for side in (0, 1))
        if stable is None or candidate is None:
            return None
        found[name] = stable, candidate
    return found
