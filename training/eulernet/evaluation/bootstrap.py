"""95 % intervals by the subject bootstrap: percentile intervals (Efron 1979) over resampled subjects.

A subject's videos resemble each other, so that resampling videos would give intervals that are too narrow. Subjects are
drawn with replacement, each with all of its rows. Tables of several folds share the draw: the same people are in each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from eulernet.evaluation.metrics import FloatArray, MetricsError
from eulernet.evaluation.table import IntArray, Table

CONFIDENCE = 0.95
RESAMPLES = 2000
# With a larger share of draws that leave a figure undefined (no bona fide drawn, say), it gets no interval.
MOST_UNDEFINED = 0.05

K = TypeVar("K", bound=Hashable)
Statistic = Callable[[Table], Mapping[K, float]]


def resample(
    tables: Sequence[Table], statistics: Sequence[Statistic[K]], resamples: int = RESAMPLES, seed: int = 0
) -> list[dict[K, FloatArray]]:
    """Each table's figures in every draw: float64 (resamples,) a figure, nan where a draw leaves it undefined.

    Args:
        tables: a fold each.
        statistics: for each table what computes its figures; a figure that a draw has no data for is left out.
        resamples: number of draws, at least 1.
        seed: the draws depend on it, on the subjects' names and on nothing else.
    """
    if resamples < 1:
        raise MetricsError(f"{resamples} resamples: needs at least 1, {RESAMPLES} are usual")
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
    """The central 95 % of a figure's draws; None where too many draws leave it undefined."""
    if values is None or not len(values):
        return None
    defined = values[np.isfinite(values)]
    if len(values) - len(defined) > MOST_UNDEFINED * len(values):
        return None
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [outside, 100 - outside])
    return float(low), float(high)


def _rows_by_subject(table: Table, subjects: Sequence[str]) -> list[IntArray]:
    """For each of `subjects` its rows in the table, none for one that the table lacks."""
    own = {name: np.flatnonzero(table.subject == number) for number, name in enumerate(table.subjects)}
    return [own.get(name, np.empty(0, np.int64)) for name in subjects]
