# SPDX-License-Identifier: Apache-2.0
"""Report of a load test: report.json (all values), report.csv (a row for each run), report.html (tables and plots)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet_core.html_pages import html_environment
from eulernet_core.weights_label import weights_warning
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest import plots
from eulernet_loadtest.metrics import Both, Outcome
from eulernet_loadtest.results import Run, Session

TAIL = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")


def write(session: Session, out: Path) -> Path:
    """Writes the three files into `out`, which is made if missing. Returns the HTML file's path."""
    write_whole_text(out / "report.json", json.dumps(session.to_dict(), indent=1, allow_nan=False) + "\n")
    rows = [row(run) for run in session.runs]
    write_whole_text(out / "report.csv", csv_text(rows, list(rows[0])))
    page = out / "report.html"
    write_whole_text(page, html(session))
    return page


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table with a header as CSV; keys of a row that are not in `columns` are left out."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def row(run: Run) -> dict[str, Any]:
    """One run as a row of the CSV; values that were not measured are empty."""
    cells: dict[str, Any] = {
        "tool": run.tool,
        "load": run.load,
        "mode": run.mode,
        "concurrency": run.concurrency,
        **{name: (run.plan or {}).get(name) for name in ("rate_hz", "arrivals", "fps")},
        "duration_s": run.duration_s,
        "throughput_fps": round(run.throughput_fps, 3),
        "answered_fps": round(run.answered_fps, 3),
        **{each.value: run.counts.get(each.value) for each in Outcome},
        "client_cpu": run.client_cpu,
        "holds": run.holds,
    }
    for name, both in (("frame", run.frame), ("clip", run.clip)):
        cells |= dict(_tail(name, both or Both(None, None)))
    return cells


def _tail(name: str, both: Both) -> Iterator[tuple[str, float | None]]:
    for kind in ("corrected", "uncorrected"):
        latency = getattr(both, kind)
        for column in TAIL:
            value = getattr(latency, column, None)
            yield f"{name}_{kind}_{column}", None if value is None else round(value, 3)


def html(session: Session) -> str:
    """The page: one file with its plots, without scripts."""
    return (
        html_environment("eulernet_loadtest")
        .get_template("loadtest.html.j2")
        .render(
            session=session,
            warning=weights_warning(session.weights),
            throughput=plots.throughput(session.runs),
            plots=[(plots.percentiles(run), plots.over_time(run)) for run in session.runs],
        )
    )
