# SPDX-License-Identifier: Apache-2.0
"""Draws the dashboards for the docs with matplotlib, from the same queries: no Grafana is needed, and none ran.

A real Prometheus scrapes a real server under light traffic. A stage is killed once, so that the panels show a restart.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import matplotlib
import numpy as np
import psutil
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from deploy.monitoring.live_monitoring import LiveMonitoring, filled_in
from deploy.monitoring.mixed_traffic import MixedTraffic
from deploy.monitoring.panels import BOARDS, Board, Kind, Panel, Row
from deploy.tools import ROOT
from eulernet_serving.embedded_server import HOST

COLUMNS, WIDTH_IN, ROW_IN, DPI = 4, 17.0, 2.5, 80
RATE_INTERVAL_S, STEP_S = 15.0, 2.0
LONGEST_NAME, MOST_NAMES = 34, 8
KILLED = "face_crop"
UNITS = {"percentunit": "share", "cps": "1/s", "reqps": "1/s", "s": "s", "short": ""}
STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9}
Series = list[dict[str, Any]]


@dataclass(frozen=True)
class Server:
    """A running server with its supervisor."""

    grpc: str
    pages: list[str]
    pid: int


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    """`eulernet serve` on free ports, from the start to the end of the block."""
    command = [sys.executable, "-m", "eulernet_core", "serve", f"--log={folder / 'server.log'}"]
    command += ["--grpc-port=0", "--metrics-port=0", "--health-port=0", "--ready-timeout-s=300"]
    with (folder / "serve.txt").open("w+") as said:
        process = subprocess.Popen(command, stderr=said, stdout=subprocess.DEVNULL)
        try:
            pattern = re.compile(r"gRPC \S+:(\d+), .*metrics (\d+), health (\d+)")
            while not (found := pattern.search((folder / "serve.txt").read_text())):
                if process.poll() is not None:
                    raise click.ClickException(f"eulernet serve ended: {(folder / 'serve.txt').read_text()}")
                time.sleep(0.5)
            grpc, metrics, health = (f"{HOST}:{port}" for port in found.groups())
            yield Server(grpc, [metrics, health], process.pid)
        finally:
            for _ in range(2):  # the second one stops without a drain
                process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            process.wait(60)


def kill_stage(server: Server) -> None:
    """Ends the process of a stage, as the kernel does when memory is short."""
    for each in psutil.Process(server.pid).children(recursive=True):
        if any(f"/{KILLED}/1/model.py" in word for word in each.cmdline()):
            os.kill(each.pid, signal.SIGKILL)


@click.command()
@click.option("--videos", type=click.Path(exists=True, file_okay=False, path_type=Path), default="out/demo/clips")
@click.option("--seconds", default=300.0, help="Duration of the traffic; the stage is killed in the middle.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "docs" / "images")
def main(videos: Path, seconds: float, out: Path) -> None:
    """Draw each dashboard into OUT, from a run with the clips of VIDEOS (make demo)."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-dashboards-")))
        server = stack.enter_context(served(scratch))
        monitoring = stack.enter_context(LiveMonitoring(server.pages, scratch))
        begin_s = time.time()
        with MixedTraffic(server.grpc, sorted(videos.glob("*.mp4"))):
            time.sleep(seconds / 2)
            kill_stage(server)
            time.sleep(seconds / 2)
        end_s = time.time()
        for board in BOARDS:
            path = out / f"dashboard_{board.uid.removeprefix('eulernet-')}.webp"
            draw(board, monitoring, begin_s, end_s, path)
            click.echo(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw(board: Board, monitoring: LiveMonitoring, begin_s: float, end_s: float, path: Path) -> None:
    """One dashboard, its panels in their order; a row without any data, such as the gateway's, is left out."""
    rows = [row for row in board.rows if has_data(row, monitoring, begin_s, end_s)]
    panels = [panel for row in rows for panel in row.panels]
    lines = -(-len(panels) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, ROW_IN * lines), dpi=DPI, layout="constrained")
        for place, panel in zip(figure.subplots(lines, COLUMNS).flat, panels, strict=False):
            place.set_title(panel.title, loc="left", fontweight="bold")
            draw_panel(place, panel, monitoring, begin_s, end_s)
        for place in figure.axes[len(panels) :]:
            place.axis("off")
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "board.png"
            figure.savefig(picture)
            with Image.open(picture) as image:
                image.convert("RGB").save(path, quality=80, method=6)


def has_data(row: Row, monitoring: LiveMonitoring, begin_s: float, end_s: float) -> bool:
    """Whether any query of the row has a series."""
    asked = (filled_in(query.expr, RATE_INTERVAL_S) for panel in row.panels for query in panel.queries)
    return any(monitoring.query_range(expr, begin_s, end_s, STEP_S) for expr in asked)


def draw_panel(place: Axes, panel: Panel, monitoring: LiveMonitoring, begin_s: float, end_s: float) -> None:
    """The panel's queries, as its kind asks."""
    asked = [(query.name, filled_in(query.expr, RATE_INTERVAL_S)) for query in panel.queries]
    if panel.kind in (Kind.NUMBER, Kind.TABLE):
        draw_text(place, panel, [series for _, expr in asked for series in monitoring.query(expr)])
        return
    found = [(name, monitoring.query_range(expr, begin_s, end_s, STEP_S)) for name, expr in asked]
    if panel.kind is Kind.HEATMAP:
        draw_heatmap(place, found[0][1], begin_s)
    else:
        draw_lines(place, found, begin_s, end_s, stacked=panel.kind is Kind.AREAS)
    place.set_xlabel("s", labelpad=0)
    place.set_ylabel(UNITS[panel.unit])


def draw_text(place: Axes, panel: Panel, series: Series) -> None:
    """The values of now as words."""
    place.axis("off")
    if panel.kind is Kind.NUMBER:
        place.text(0.5, 0.5, f"{float(series[0]['value'][1]):g}", fontsize=28, ha="center", va="center")
        return
    rows = [f"{key}: {value}" for each in series for key, value in sorted(each["metric"].items())]
    place.text(0.0, 0.9, "\n".join([*rows, *(f"replicas: {each['value'][1]}" for each in series)]), va="top")


def draw_lines(place: Axes, found: list[tuple[str, Series]], begin_s: float, end_s: float, *, stacked: bool) -> None:
    """One line for each series, or areas upon each other. Of many series, those that are always 0 have no name."""
    times = np.arange(0, end_s - begin_s + STEP_S, STEP_S)
    lines: dict[str, NDArray[np.float64]] = {}
    for template, series in found:
        for each in series:
            values = lines.setdefault(shown_name(template, each["metric"]), np.full(len(times), np.nan))
            for when_s, value in each["values"]:
                values[round((when_s - begin_s) / STEP_S)] = float(value)
    named = {name: values for name, values in sorted(lines.items()) if np.nan_to_num(values).any()}
    if stacked:
        place.stackplot(times, [np.nan_to_num(each) for each in named.values()], labels=list(named), alpha=0.6)
    else:
        quiet = {} if len(lines) > MOST_NAMES else lines
        for name, values in (quiet | named).items():
            place.plot(times, values, label=name, linewidth=1)
    top = max((float(np.nanmax(values)) for values in named.values()), default=1.0)
    place.set_ylim(0, place.get_ylim()[1] * 1.3 if stacked else 1.4 * top)  # room for the names
    place.set_xlim(0, times[-1])
    if names := place.get_legend_handles_labels()[1]:
        place.legend(fontsize=6, loc="upper left", frameon=False, ncols=min(3, len(names)))


def draw_heatmap(place: Axes, series: Series, begin_s: float) -> None:
    """Counts of each bucket over time, which are the differences of the cumulative ones."""
    bounded = sorted((float(each["metric"]["le"]), dict(map(tuple, each["values"]))) for each in series)[:-1]
    times = sorted({when for _, values in bounded for when in values})
    cumulative = np.array([[float(values.get(when, 0)) for when in times] for _, values in bounded])
    counts = np.diff(cumulative, axis=0, prepend=0)
    edges = [0.0, *(bound for bound, _ in bounded)]
    place.pcolormesh([when - begin_s for when in [*times, times[-1] + STEP_S]], edges, counts, cmap="viridis")


def shown_name(template: str, labels: dict[str, str]) -> str:
    """The template with its labels filled in, as Grafana does."""
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template) or "value"
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


if __name__ == "__main__":
    main()
