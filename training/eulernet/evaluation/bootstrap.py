# SPDX-License-Identifier: Apache-2.0
"""95 % intervals by the subject bootstrap: percentile intervals (Efron 1979) over resampled subjects.

Subjects, not videos, are drawn with replacement, each with all of its rows: a subject's videos resemble each other, and
resampling videos would give too narrow intervals. Tables of several folds have the same people and share the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from eulernet.evaluation.table import IntArray, Table
from eulernet_core.attack_detection_metrics import FloatArray, MetricsError

CONFIDENCE = 0.95
RESAMPLES = 2000
# A figure that is undefined in a larger share of the draws (no bona fide drawn, for example) has no interval.
MOST_UNDEFINED = 0.05

K = TypeVar("K", bound=Hashable)
Statistic = Callable[[Table], Mapping[K, float]]


def resample(
    tables: Sequence[Table], statistics: Sequence[Statistic[K]], resamples: int = RESAMPLES, seed: int = 0
) -> list[dict[K, FloatArray]]:
    """Each table's figures in every draw: float64 (resamples,) per figure, nan in draws that leave it undefined.

    Args:
        tables: one per fold.
        statistics: for each table the function of its figures; figures without data in a draw are left out.
        resamples: number of draws, at least 1.
        seed: the draws depend only on it and on the subjects' names.
    """
    if resamples < 1:
        raise MetricsError(f"{resamples} resamples: at least 1 is needed, {RESAMPLES} are usual")
    subjects = sorted({name for table in tables for name in table.subjects})
    rows = [_rows_by_subject(table, subjects) for table in tables]
    generator = np.random.default_rng(seed)
    found: list[dict[K, FloatArray]] = [{} for _ in tables]
    for draw in range(resamples):
        drawn = generator.integers(len(subjects), size=len(subjects))
        for table, statistic, by_subject, values in zip(tables, statistics, rows, found, strict=True):
            resampled = table.take(np.concatenate([by_subject[subject] for subject in drawn]))
            for key, value in statistic(resampled).items():
                values.setdefault(key, np.full(resamples, np.nan))[draw] = value
    return found


def interval(values: FloatArray | None) -> tuple[float, float] | None:
    """The central 95 % of a figure's draws; None if too many draws leave it undefined."""
    if values is None or not len(values):
        return None
    defined = values[np.isfinite(values)]
    if len(values) - len(defined) > MOST_UNDEFINED * len(values):
        return None
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [outside, 100 - outside])
    return float(low), float(high)


def _rows_by_subject(table: Table, subjects: Sequence[str]) -> list[IntArray]:
    """For each of `subjects` its rows in the table; empty for subjects not in the table."""
    own = {name: np.flatnonzero(table.subject == number) for number, name in enumerate(table.subjects)}
    return [own.get(name, np.empty(0, np.int64)) for name in subjects]
