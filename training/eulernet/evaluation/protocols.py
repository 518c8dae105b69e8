# SPDX-License-Identifier: Apache-2.0
"""Results of a fold and of a protocol: the threshold from the dev scores, the figures from the test scores.

OULU-NPU's protocols 1 and 2 have one fold, 3 and 4 have six (Boulkenafet et al. 2017). The figures of several folds are
means, and their spread is the sample standard deviation (divisor n - 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.bootstrap import RESAMPLES, interval, resample
from eulernet.evaluation.table import IntArray, Table, known, shared_subjects
from eulernet_core.attack_detection_metrics import (
    Curve,
    FloatArray,
    MetricsError,
    Sample,
    apcer,
    auc,
    bpcer,
    curve,
    eer,
    eer_threshold,
    figures,
    kind_of,
)

FOLDS = {1: 1, 2: 1, 3: 6, 4: 6}  # of OULU-NPU, by protocol
FEW_SUBJECTS = 10


class Key(NamedTuple):
    """Key of a figure of the whole test set, or of a slice by `instrument`, `kind`, `phone` or `session`."""

    figure: str
    by: str = ""
    value: str = ""


@dataclass(frozen=True)
class Estimate:
    """A figure; `interval`: 95 %, from resampled subjects; `spread`: over folds, None for one fold."""

    value: float
    interval: tuple[float, float] | None
    spread: float | None = None


@dataclass(frozen=True)
class Fold:
    """The scores of a fold."""

    name: str
    dev: Table
    test: Table


@dataclass(frozen=True)
class Counts:
    """Numbers of scored and unscored presentations by class, BONA_FIDE or an instrument; and of subjects."""

    scored: Mapping[str, int]
    unscored: Mapping[str, int]
    subjects: int

    @classmethod
    def of(cls, table: Table) -> Counts:
        return cls(table.counts(), dict(sorted(table.unscored.items())), len(table.subjects))


@dataclass(frozen=True)
class FoldResult:
    """
    Attributes:
        threshold: of equal error rates of the dev scores; live iff score >= threshold.
        dev: `eer`, `apcer_pooled` and `bpcer` of the dev scores, the latter two at the threshold.
        test: every figure of attack_detection_metrics.FIGURES, also by slices.
        curve: of the test scores, attacks pooled.
        samples: the test scores by class.
        dev_counts, test_counts: numbers of presentations.
        warnings: limits of the figures.
    """

    name: str
    threshold: float
    dev: Mapping[Key, Estimate]
    test: Mapping[Key, Estimate]
    curve: Curve
    samples: Sample
    dev_counts: Counts
    test_counts: Counts
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ProtocolResult:
    """
    Attributes:
        protocol: of OULU-NPU, 1 to 4, or None for other data.
        folds: at least one.
        summary: means of the figures over the folds that have them, with their spread.
        resamples: number of draws for the intervals.
        warnings: of the protocol and of its folds.
    """

    protocol: int | None
    folds: tuple[FoldResult, ...]
    summary: Mapping[Key, Estimate]
    resamples: int
    seed: int
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """Title for headings."""
        return f"Protocol {self.protocol}" if self.protocol else "Evaluation"


def measure(table: Table, threshold: float) -> dict[Key, float]:
    """Every figure with data in the table. Slices have rates; instruments have APCER, EER and AUC, the latter two with
    all bona fide presentations."""
    found: dict[Key, float] = {}
    if table.complete():
        sample = table.sample()
        found |= {Key(name): value for name, value in figures(sample, threshold).items()}
        for name, scores in sample.attacks.items():
            alone = Sample(sample.bona_fide, {name: scores})
            found[Key("apcer", "instrument", name)] = apcer(scores, threshold)
            found[Key("eer", "instrument", name)] = eer(alone)
            found[Key("auc", "instrument", name)] = auc(alone)
        for kind, scores in sample.kinds().items():
            found[Key("apcer", "kind", kind)] = apcer(scores, threshold)
    for by, column in (("phone", table.phone), ("session", table.session)):
        found |= _sliced(table, threshold, by, column)
    return found


def evaluate_protocol(
    folds: Sequence[Fold], protocol: int | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> ProtocolResult:
    """The results of all folds and their means.

    For the intervals, the thresholds are fixed, because they belong to the system under test, and the test subjects are
    resampled, with the same draws for all folds.

    Raises:
        MetricsError: `folds` is empty, two folds have one name, or a fold has no bona fide or no attacks.
    """
    names = [fold.name for fold in folds]
    if not names or len(set(names)) < len(names):
        raise MetricsError(f"folds {', '.join(names) or '(none)'}: at least one is needed, with distinct names")
    dev_samples = [_sample(fold.dev, f"fold {fold.name}, dev") for fold in folds]
    samples = [_sample(fold.test, f"fold {fold.name}, test") for fold in folds]
    thresholds = [eer_threshold(sample) for sample in dev_samples]
    points = [measure(fold.test, threshold) for fold, threshold in zip(folds, thresholds, strict=True)]
    draws = resample([f.test for f in folds], [partial(measure, threshold=t) for t in thresholds], resamples, seed)
    dev_draws = resample([fold.dev for fold in folds], [_measure_dev] * len(folds), resamples, seed)
    results = tuple(
        FoldResult(
            name=fold.name,
            threshold=thresholds[i],
            dev=_dev_estimates(dev_samples[i], thresholds[i], _interval(dev_draws[i].get(Key("eer")), fold.dev)),
            test={key: Estimate(v, _interval(draws[i].get(key), fold.test)) for key, v in points[i].items()},
            curve=curve(samples[i]),
            samples=samples[i],
            dev_counts=Counts.of(fold.dev),
            test_counts=Counts.of(fold.test),
            warnings=tuple(_fold_warnings(fold)),
        )
        for i, fold in enumerate(folds)
    )
    warnings = (*_protocol_warnings(protocol, len(folds)), *_gathered(results))
    return ProtocolResult(protocol, results, _summary(points, draws, folds), resamples, seed, warnings)


def _sample(table: Table, where: str) -> Sample:
    try:
        return table.sample()
    except MetricsError as error:
        raise MetricsError(f"{where}: {error}") from error


def _measure_dev(table: Table) -> dict[Key, float]:
    return {Key("eer"): eer(table.sample())} if table.complete() else {}


def _dev_estimates(sample: Sample, threshold: float, eer_interval: tuple[float, float] | None) -> dict[Key, Estimate]:
    return {
        Key("eer"): Estimate(eer(sample), eer_interval),
        Key("apcer_pooled"): Estimate(apcer(sample.pooled, threshold), None),
        Key("bpcer"): Estimate(bpcer(sample.bona_fide, threshold), None),
    }


def _interval(draws: FloatArray | None, table: Table) -> tuple[float, float] | None:
    return interval(draws) if len(table.subjects) > 1 else None  # resampling one subject gives no variation


def _sliced(table: Table, threshold: float, by: str, column: IntArray) -> dict[Key, float]:
    """Rates of each phone or session with presentations."""
    found: dict[Key, float] = {}
    wrong = (table.liveness >= threshold) == (table.instrument > 0)
    classes = len(table.instruments) + 1
    for value in known(column):
        of_slice = column == value
        instrument = table.instrument[of_slice]
        total = np.bincount(instrument, minlength=classes)
        errors = np.bincount(instrument, wrong[of_slice], minlength=classes)
        attacked = total[1:] > 0
        if attacked.any():
            found[Key("apcer_max", by, str(value))] = float(np.max(errors[1:][attacked] / total[1:][attacked]))
            found[Key("apcer_pooled", by, str(value))] = float(errors[1:].sum() / total[1:].sum())
        if total[0]:
            found[Key("bpcer", by, str(value))] = float(errors[0] / total[0])
        if total.all():
            highest = found[Key("apcer_max", by, str(value))]
            found[Key("acer", by, str(value))] = (highest + found[Key("bpcer", by, str(value))]) / 2
    return found


def _summary(
    points: Sequence[Mapping[Key, float]], draws: Sequence[Mapping[Key, FloatArray]], folds: Sequence[Fold]
) -> dict[Key, Estimate]:
    """Means over the folds that have the figure; draws are used if all of these folds have it."""
    subjects = {name for fold in folds for name in fold.test.subjects}
    found = {}
    for key in dict.fromkeys(key for point in points for key in point):
        having = [i for i, point in enumerate(points) if key in point]
        values = np.array([points[i][key] for i in having])
        drawn = [draws[i].get(key) for i in having]
        complete = [each for each in drawn if each is not None]
        limits = None
        if len(complete) == len(having) and len(subjects) > 1:
            limits = interval(np.asarray(np.mean(complete, axis=0), np.float64))
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        found[key] = Estimate(float(values.mean()), limits, spread)
    return found


def _fold_warnings(fold: Fold) -> list[str]:
    found = [*_table_warnings(fold.dev, "dev"), *_table_warnings(fold.test, "test")]
    both = shared_subjects(fold.dev, fold.test)
    if both:
        examples = ", ".join(both[:3])
        found.append(f"dev and test share {len(both)} subjects ({examples}); the figures are too optimistic")
    kinds = {kind_of(name) for name in fold.test.instruments} - {kind_of(name) for name in fold.dev.instruments}
    if kinds:
        found.append(f"only test has {', '.join(sorted(kinds))} attacks; the threshold was set without them")
    return found


def _table_warnings(table: Table, role: str) -> list[str]:
    found = []
    subjects = len(table.subjects)
    if subjects == 1:
        found.append(f"{role}: one subject, so the figures have no intervals")
    elif subjects == len(table):
        found.append(
            f"{role}: every presentation has another subject; if people appear in several, fill the subject column, "
            "or the intervals are too narrow"
        )
    elif subjects < FEW_SUBJECTS:
        found.append(f"{role}: only {subjects} subjects, so the intervals are rough")
    if table.unscored:
        found.append(f"{role}: no score for {_unscored(table)}; the rates do not include them")
    return found


def _unscored(table: Table) -> str:
    shares = []
    for name, count in sorted(table.unscored.items()):
        every = count + table.counts().get(name, 0)
        rate = "BPNRR" if name == BONA_FIDE else "APNRR"
        shares.append(f"{count} of {every} {name} ({rate} {100 * count / every:.1f} %)")
    return ", ".join(shares)


def _gathered(results: Sequence[FoldResult]) -> list[str]:
    """The folds' warnings, each once, with the names of its folds."""
    about: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            about.setdefault(warning, []).append(result.name)
    if len(results) == 1:
        return list(about)
    where = {len(results): "every fold", 1: "fold {0}"}
    return [
        f"{where.get(len(names), 'folds {1}').format(names[0], ', '.join(names))}: {warning}"
        for warning, names in about.items()
    ]


def _protocol_warnings(protocol: int | None, folds: int) -> list[str]:
    if protocol is None:
        return []
    if protocol not in FOLDS:
        raise MetricsError(f"protocol {protocol}: OULU-NPU has {', '.join(map(str, FOLDS))}; give none for other data")
    if folds != FOLDS[protocol]:
        return [f"protocol {protocol} has {FOLDS[protocol]} folds, these figures are from {folds}"]
    return []
