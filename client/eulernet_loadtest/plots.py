# SPDX-License-Identifier: Apache-2.0
"""Plots of a load test's report: SVG in data URIs, with colours for light and dark pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, MaxNLocator, NullLocator

from eulernet_loadtest.results import PERF_ANALYZER, Run

# Okabe and Ito's colour-blind-safe palette without black and yellow, which are invisible on one of the two pages.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#808a96"
PERCENTILES = (0, 50, 90, 99, 99.9, 99.99)
PLAIN_STYLE: dict[str, Any] = {
    "svg.hashsalt": "eulernet",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_STYLE: Any = PLAIN_STYLE | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY
)


def throughput(runs: Sequence[Run]) -> str | None:
    """Frames/s and p99 latency over concurrency, a line for each tool and call; None without a closed loop."""
    lines: dict[str, list[tuple[int, Run]]] = {}
    for run in runs:
        if run.concurrency is not None:
            paced = "" if run.plan is None or run.plan["fps"] is None else f" at {run.plan['fps']:g} fps"
            lines.setdefault(f"{run.tool}: {run.mode}{paced}", []).append((run.concurrency, run))
    if not lines:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, (left, right) = _figure(2)
        for number, (label, points) in enumerate(lines.items()):
            points.sort(key=lambda point: point[0])
            dashed = points[0][1].tool == PERF_ANALYZER
            style: Any = {"color": COLOURS[number % len(COLOURS)], "markersize": 4, "label": label}
            style |= {"linestyle": "--", "marker": "s"} if dashed else {"marker": "o"}
            left.plot([x for x, _ in points], [run.throughput_fps for _, run in points], **style)
            tails = [(x, y) for x, run in points if (y := _p99_ms(run)) is not None]
            right.plot([x for x, _ in tails], [y for _, y in tails], **style)
        for axes, label in ((left, "frames/s, scored and in time"), (right, "p99 of a request, uncorrected, ms")):
            axes.set(xlabel="concurrency", ylabel=label, xlim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _from_zero(axes)
        left.legend(frameon=False)
        return _uri(figure)


def _p99_ms(run: Run) -> float | None:
    """From the actual send, of a whole request: the value that both tools report."""
    latency = run.request.uncorrected
    return None if latency is None else latency.p99_ms


def percentiles(run: Run) -> str | None:
    """Latency per frame over the percentile, corrected and uncorrected; None without an answer."""
    pair = (("from the intended send", run.frame.corrected, "-"), ("from the actual send", run.frame.uncorrected, "--"))
    if not any(latency for _, latency, _ in pair):
        return None
    with matplotlib.rc_context(_STYLE):
        figure, (axes,) = _figure(1)
        for (label, latency, dash), colour in zip(pair, COLOURS, strict=False):
            if latency is not None:
                # The axis ends at the percentile that the number of values resolves; the maximum is drawn there.
                last = 100 - 100 / ((latency.count or 1) + 1)
                points = [(min(q, last), ms) for q, ms in latency.quantiles]
                axes.plot(
                    [100 / (100 - q) for q, _ in points], [ms for _, ms in points], dash, color=colour, label=label
                )
        axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms a frame")
        axes.xaxis.set_major_locator(FixedLocator([100 / (100 - q) for q in PERCENTILES]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 - 100 / x:.5g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        # Labels for axes shorter than a decade; matplotlib's default formatter writes TeX.
        axes.yaxis.set_minor_formatter(LogFormatter())
        axes.legend(frameon=False)
        return _uri(figure)


def over_time(run: Run) -> str | None:
    """Latency over the intended send, and frames/s over time; None without a timeline."""
    if not any(piece.max_ms is not None for piece in run.timeline):
        return None
    with matplotlib.rc_context(_STYLE):
        figure, (left, right) = _figure(2)
        at_s = [piece.at_s for piece in run.timeline]
        for label, colour, name in (
            ("max", COLOURS[1], "max_ms"),
            ("p99", COLOURS[4], "p99_ms"),
            ("p50", COLOURS[0], "p50_ms"),
        ):
            values = [getattr(piece, name) for piece in run.timeline]
            known = [(x, y) for x, y in zip(at_s, values, strict=True) if y is not None]
            left.plot([x for x, _ in known], [y for _, y in known], color=colour, label=label, marker=".")
        left.set(xlabel="s, by intended send", ylabel="ms a request, from its intended send")
        _from_zero(left)
        left.legend(frameon=False)
        right.plot(at_s, [piece.throughput_fps for piece in run.timeline], color=COLOURS[2], marker=".")
        right.set(xlabel="s, by answer", ylabel="frames/s, scored and in time")
        _from_zero(right)
        return _uri(figure)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.8 * panels, 3.1), layout="constrained")
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    for each in axes:
        each.patch.set_alpha(0)
        each.grid(color=GREY, alpha=0.25, linewidth=0.6)
    return figure, axes


def _from_zero(axes: Axes) -> None:
    """Axis from 0 with a margin at the top, so that a flat line is not drawn on the edge."""
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])


def _uri(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode("ascii")
