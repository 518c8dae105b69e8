# SPDX-License-Identifier: Apache-2.0
"""The report of `eulernet gpu-check`: table, JSON file and exit status."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from eulernet_build.gpu_check.judge import FAIL, PASS, SKIPPED, Row
from eulernet_core.whole_files import write_whole_text

STYLES = {PASS: "green", FAIL: "bold red", SKIPPED: "yellow"}


def table(rows: Sequence[Row]) -> Table:
    """A table of all rows; one line summarizes the kernels that passed."""
    made = Table(title=None, show_edge=False)
    for column in ("part", "what", "outcome", "figures"):
        made.add_column(column, overflow="fold")
    passed = [row for row in rows if row.part == "kernels" and row.outcome == PASS]
    if passed:
        made.add_row(
            "kernels", f"{len(passed)} shapes and types", f"[{STYLES[PASS]}]{PASS}", "within twice torch's error"
        )
    for row in rows:
        if row not in passed:
            made.add_row(row.part, escape(row.name), f"[{STYLES[row.outcome]}]{row.outcome}", escape(row.figure))
    return made


def summary(rows: Sequence[Row]) -> str:
    """Counts, such as `112 passed, 1 failed, 2 skipped`."""
    counts = Counter(row.outcome for row in rows)
    return f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIPPED]} skipped"


def failed(rows: Sequence[Row]) -> bool:
    """Whether a check failed, or no check passed."""
    return not any(row.outcome == PASS for row in rows) or any(row.outcome == FAIL for row in rows)


def write_json(path: Path, machine: dict[str, Any], rows: Sequence[Row]) -> None:
    """Writes the machine, the outcome and every row with its numbers."""
    content = {
        "machine": machine,
        "summary": summary(rows),
        "failed": failed(rows),
        "rows": [r.to_json() for r in rows],
    }
    write_whole_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
