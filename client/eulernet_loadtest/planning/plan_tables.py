# SPDX-License-Identifier: Apache-2.0
"""The planner's tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from eulernet_loadtest.planning.fleet_simulation import Outcome
from eulernet_loadtest.planning.model_check import Comparison


def _grid(*headings: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        grid.add_column(heading, justify="right", overflow="fold")
    return grid


def summary_table(rows: Sequence[tuple[str, str]]) -> Table:
    """The plan: a row for each figure."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(overflow="fold")
    grid.add_column(justify="right", overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def fleet_table(outcomes: Sequence[Outcome], p99_s: float) -> Table:
    """A row for each scenario. `p99_s`: the largest p99 that the plan allows."""
    grid = _grid(
        "simulated", "replicas", "streams each", "p99", "most", "used at most", "p99 ms", "p99 ms, fullest", "verdict"
    )
    for each in outcomes:
        grid.add_row(
            each.scenario,
            str(each.replicas),
            f"{each.mean:.1f}",
            f"{each.p99:.0f}",
            str(each.most),
            f"{each.used:.0%}",
            f"{1000 * each.p99_s:.1f}",
            f"{1000 * each.busiest_p99_s:.1f}",
            "holds" if each.p99_s <= p99_s else "does not hold",
        )
    return grid


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """The model beside measured loads."""
    grid = _grid("measured load", "used", "p50 ms", "model", "p99 ms", "model", "difference")
    for each in comparisons:
        grid.add_row(
            each.load,
            f"{each.used:.0%}",
            f"{1000 * each.measured_p50_s:.1f}",
            f"{1000 * each.p50_s:.1f}",
            f"{1000 * each.measured_p99_s:.1f}",
            f"{1000 * each.p99_s:.1f}",
            f"{each.p99_error:+.0%}",
        )
    return grid
