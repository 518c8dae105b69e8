# SPDX-License-Identifier: Apache-2.0
"""The table of runs that the commands print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from eulernet_loadtest.metrics import Latency
from eulernet_loadtest.results import OURS, Run


def table(runs: Sequence[Run]) -> Table:
    """A row for each run. Latency is of a stream's frame or of a whole clip call; `sent`: from the actual send."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("load", overflow="fold")
    for heading in ("frames/s", "p50 ms", "p99 ms", "p99 sent", "late", "failed"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        both = run.request
        name = run.load if run.holds is None else f"{run.load}: {'holds' if run.holds else 'does not hold'}"
        grid.add_row(
            name if run.tool == OURS else f"{name} ({run.tool})",
            f"{run.throughput_fps:.1f}",
            _ms(both.corrected or both.uncorrected, "p50_ms"),
            _ms(both.corrected, "p99_ms"),
            _ms(both.uncorrected, "p99_ms"),
            str(run.counts.get("late", "-")),
            str(run.failed) if run.counts else "-",
        )
    return grid


def _ms(latency: Latency | None, name: str) -> str:
    return "-" if latency is None else f"{getattr(latency, name):.1f}"
