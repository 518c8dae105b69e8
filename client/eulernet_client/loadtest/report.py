"""Writes a load test down: report.json (all of it), report.csv (a row a run), report.html (tables and plots)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eulernet_client._contract import weights_warning
from eulernet_client.loadtest import plots
from eulernet_client.loadtest.metrics import Both, Outcome
from eulernet_client.loadtest.results import Run, Session

TAIL = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")


def write(session: Session, out: Path) -> Path:
    """Writes the three files into `out`, made where missing. Returns the HTML file."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(session.to_dict(), indent=1, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    rows = [row(run) for run in session.runs]
    with (out / "report.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    page = out / "report.html"
    page.write_text(html(session), encoding="utf-8", errors="replace")
    return page


def row(run: Run) -> dict[str, Any]:
    """One run as a row of the CSV; what was not measured is empty."""
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
    """The page: one file, plots inside, no scripts."""
    environment = Environment(
        loader=PackageLoader("eulernet_client"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("loadtest.html.j2").render(
        session=session,
        warning=weights_warning(session.weights),
        throughput=plots.throughput(session.runs),
        plots=[(plots.percentiles(run), plots.over_time(run)) for run in session.runs],
    )
