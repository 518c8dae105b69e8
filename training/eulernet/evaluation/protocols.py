# SPDX-License-Identifier: Apache-2.0
"""Results of a fold and of a protocol: the threshold from the dev scores or given, the figures from the test scores.

OULU-NPU's protocols 1 and 2 have one fold, 3 and 4 have six (Boulkenafet et al. 2017). The figures of several folds are
means, and their spread is the sample standard deviation (divisor n - 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.bootstrap import RESAMPLES, interval, resample
from eulernet.evaluation.completeness import Key, Silent, missing_from, together
from eulernet.evaluation.table import WHOLE, IntArray, Table, known, shared_subjects
from eulernet_core.attack_detection_metrics import (
    Curve,
    EqualErrors,
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
Draws = Mapping[Key, FloatArray]  # of each figure


@dataclass(frozen=True)
class Estimate:
    """
    Attributes:
        value: of the figure.
        interval: 95 %, from resampled subjects; None if there is none.
        spread: over folds; None for one fold.
        missing: the classes without any score that the figure should include; with one, it is not complete.
    """

    value: float
    interval: tuple[float, float] | None
    spread: float | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """The scores of a fold; `dev`: None if there are none, then a threshold must be given."""

    name: str
    dev: Table | None
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
        threshold: of equal errors of the dev scores, or given; live iff score >= threshold.
        given: whether the threshold was given.
        dev: `eer`, `apcer_pooled` and `bpcer` of the dev scores, the latter two at the threshold; empty if the dev
            scores are missing or lack a class.
        test: every figure of attack_detection_metrics.FIGURES, also by slices.
        curve: of the test scores, attacks pooled.
        samples: the test scores by class.
        dev_counts, test_counts: numbers of presentations; None without dev scores.
        silent: by scope, the classes of the test set whose presentations are all unscored.
        warnings: limits of the figures.
    """

    name: str
    threshold: float
    given: bool
    dev: Mapping[Key, Estimate]
    test: Mapping[Key, Estimate]
    curve: Curve
    samples: Sample
    dev_counts: Counts | None
    test_counts: Counts
    silent: Silent
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

    @property
    def silent(self) -> Silent:
        """By scope, the classes of a fold's test set whose presentations are all unscored."""
        return together([fold.silent for fold in self.folds])

    @property
    def missing(self) -> tuple[str, ...]:
        """The instruments without any score; with one, the figures of attacks are not complete."""
        return self.silent.get(WHOLE, ())


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
    folds: Sequence[Fold],
    protocol: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threshold: float | None = None,
    equal: EqualErrors = "pooled",
) -> ProtocolResult:
    """The results of all folds and their means.

    For the intervals, the thresholds are fixed, because they belong to the system under test, and the test subjects are
    resampled, with the same draws for all folds.

    Args:
        threshold: of every fold; None for each fold's threshold of equal errors of the dev scores.
        equal: which errors, see `eer_threshold`.
    Raises:
        MetricsError: `folds` is empty, two folds have one name, or a fold has no scored bona fide or no scored attacks
            in test, or in dev without a given threshold.
    """
    names = [fold.name for fold in folds]
    if not names or len(set(names)) < len(names):
        raise MetricsError(f"folds {', '.join(names) or '(none)'}: at least one is needed, with distinct names")
    thresholds = [_dev_threshold(fold, equal) if threshold is None else threshold for fold in folds]
    for fold in folds:
        _sample(fold.test, f"fold {fold.name}, test")
    draws = resample([f.test for f in folds], [partial(measure, threshold=t) for t in thresholds], resamples, seed)
    dev_draws = _dev_draws(folds, resamples, seed)
    results = tuple(
        _fold_result(fold, thresholds[i], threshold is not None, draws[i], dev_draws.get(fold.name))
        for i, fold in enumerate(folds)
    )
    warnings = (*_protocol_warnings(protocol, len(folds)), *_gathered(results))
    return ProtocolResult(protocol, results, _summary(results, draws, folds), resamples, seed, warnings)


def _fold_result(fold: Fold, threshold: float, given: bool, draws: Draws, dev_draws: Draws | None) -> FoldResult:
    """`dev_draws`: None if the dev scores are missing or lack a class."""
    dev, test, silent = fold.dev, fold.test, fold.test.silent
    return FoldResult(
        name=fold.name,
        threshold=threshold,
        given=given,
        dev={} if dev is None or dev_draws is None else _dev_estimates(dev, threshold, dev_draws),
        test={
            key: Estimate(value, _interval(draws.get(key), test), missing=missing_from(silent, key))
            for key, value in measure(test, threshold).items()
        },
        curve=curve(test.sample()),
        samples=test.sample(),
        dev_counts=None if dev is None else Counts.of(dev),
        test_counts=Counts.of(test),
        silent=silent,
        warnings=tuple(_fold_warnings(fold, threshold if given else None)),
    )


def _dev_threshold(fold: Fold, equal: EqualErrors) -> float:
    if fold.dev is None:
        raise MetricsError(f"fold {fold.name}: no dev scores to set the threshold on; add them or give a threshold")
    return eer_threshold(_sample(fold.dev, f"fold {fold.name}, dev"), equal)


def _sample(table: Table, where: str) -> Sample:
    try:
        return table.sample()
    except MetricsError as error:
        without = f"; without score: {_unscored(table)}" if table.unscored else ""
        raise MetricsError(f"{where}: {error}{without}") from error


def _measure_dev(table: Table) -> dict[Key, float]:
    return {Key("eer"): eer(table.sample())} if table.complete() else {}


def _dev_draws(folds: Sequence[Fold], resamples: int, seed: int) -> dict[str, dict[Key, FloatArray]]:
    """The draws of the dev scores by fold, of the folds whose dev scores have both classes."""
    devs = {fold.name: fold.dev for fold in folds if fold.dev is not None and fold.dev.complete()}
    if not devs:
        return {}
    drawn = resample(list(devs.values()), [_measure_dev] * len(devs), resamples, seed)
    return dict(zip(devs, drawn, strict=True))


def _dev_estimates(table: Table, threshold: float, draws: Draws) -> dict[Key, Estimate]:
    sample = table.sample()
    values = {
        Key("eer"): eer(sample),
        Key("apcer_pooled"): apcer(sample.pooled, threshold),
        Key("bpcer"): bpcer(sample.bona_fide, threshold),
    }
    return {
        key: Estimate(value, _interval(draws.get(key), table), missing=missing_from(table.silent, key))
        for key, value in values.items()
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


def _summary(results: Sequence[FoldResult], draws: Sequence[Draws], folds: Sequence[Fold]) -> dict[Key, Estimate]:
    """Means over the folds that have the figure; draws are used if all of these folds have it."""
    subjects = {name for fold in folds for name in fold.test.subjects}
    silent = together([result.silent for result in results])
    found = {}
    for key in dict.fromkeys(key for result in results for key in result.test):
        having = [i for i, result in enumerate(results) if key in result.test]
        values = np.array([results[i].test[key].value for i in having])
        drawn = [draws[i].get(key) for i in having]
        complete = [each for each in drawn if each is not None]
        limits = None
        if len(complete) == len(having) and len(subjects) > 1:
            limits = interval(np.asarray(np.mean(complete, axis=0), np.float64))
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        found[key] = Estimate(float(values.mean()), limits, spread, missing_from(silent, key))
    return found


def _fold_warnings(fold: Fold, threshold: float | None) -> list[str]:
    found = _table_warnings(fold.test, "test")
    if threshold is not None:
        found.append(
            f"the threshold {threshold:g} was given, not set on dev scores, so APCER and BPCER are not balanced"
        )
    if fold.dev is None:
        return found
    found = [*_table_warnings(fold.dev, "dev"), *found]
    both = shared_subjects(fold.dev, fold.test)
    if both:
        examples = ", ".join(both[:3])
        found.append(f"dev and test share {len(both)} subjects ({examples}); the figures are too optimistic")
    kinds = {kind_of(name) for name in fold.test.instruments} - {kind_of(name) for name in fold.dev.instruments}
    if kinds and threshold is None:
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
    if WHOLE in table.silent:
        found.append(f"{role}: not complete: no presentation of {', '.join(table.silent[WHOLE])} has a score")
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
