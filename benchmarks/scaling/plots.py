# SPDX-License-Identifier: Apache-2.0
"""The three plots of the page, from the same views as its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.pages import STYLE, panels, save
from benchmarks.scaling.scaling_analysis import KNEE_SHARE
from eulernet_loadtest.plots import COLOURS, GREY

WORDS = {"clips": "clip calls", "streams": "streams"}


def concurrency(views: list[dict[str, Any]], path: Path) -> None:
    """Throughput with its knee, and latency, over concurrency."""
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2)
        for view, colour in zip(views, COLOURS, strict=False):
            xs = [row["concurrency"] for row in view["rows"]]
            name = WORDS[view["mode"]]
            ys = [row["throughput_fps"] for row in view["rows"]]
            left.plot(xs, ys, "o-", color=colour, markersize=4, label=f"{name}, knee at {view['knee']}")
            left.plot(
                view["knee"], view["at_knee"]["throughput_fps"], "o", color=colour, markersize=11, fillstyle="none"
            )
            for figure_name, dash in (("p50_ms", "-"), ("p99_ms", "--")):
                ys = [row[figure_name] for row in view["rows"]]
                right.plot(xs, ys, dash, marker="o", color=colour, markersize=4, label=f"{name}, {figure_name[:3]}")
        left.set(ylabel="frames/s", title=f"ring: knee, the first to reach {100 * KNEE_SHARE:.0f} % of the best")
        right.set(ylabel="ms a request (a clip call, or a frame)", yscale="log")
        right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        right.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        right.yaxis.set_minor_formatter(NullFormatter())
        left.set_ylim(0, 1.15 * max(view["best_fps"] for view in views))
        for axes in (left, right):
            axes.set(xlabel="concurrency: calls or streams in progress", xscale="log")
            _ticks(axes, [row["concurrency"] for view in views for row in view["rows"]])
            axes.legend(frameon=False)
        save(figure, path)


def frame_size(views: list[dict[str, Any]], path: Path) -> None:
    """Throughput, and the time of a frame with its fitted line, over megapixels."""
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2)
        for view, colour in zip(views, COLOURS, strict=False):
            xs = [row["megapixels"] for row in view["rows"]]
            name = WORDS[view["mode"]]
            left.plot(xs, [row["throughput_fps"] for row in view["rows"]], "o-", color=colour, markersize=4, label=name)
            right.plot(xs, [row["frame_ms"] for row in view["rows"]], "o", color=colour, markersize=4, label=name)
            ends = [0, max(xs)]
            right.plot(ends, [view["line"].at(x) for x in ends], "--", color=colour, linewidth=1)
        left.set(ylabel="frames/s", ylim=(0, None))
        right.set(ylabel="ms of the machine for each frame", ylim=(0, None), title="dashed: least squares")
        for axes in (left, right):
            axes.set(xlabel="megapixels of a frame", xlim=(0, None))
            axes.legend(frameon=False)
        save(figure, path)


def open_sequences(view: dict[str, Any], path: Path) -> None:
    """Latency, and the server's memory with its fitted line, over the number of open streams."""
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2)
        xs = [row["sequences"] for row in view["rows"]]
        for name, colour in (("p50_ms", COLOURS[0]), ("p99_ms", COLOURS[1])):
            left.plot(xs, [row[name] for row in view["rows"]], "o-", color=colour, markersize=4, label=name[:3])
        left.set(ylabel="ms a frame, from its scheduled send", ylim=(0, None), xscale="log")
        _ticks(left, xs)
        left.legend(frameon=False)
        right.plot(xs, [row["pss_bytes"] / 1e6 for row in view["rows"]], "o", color=COLOURS[0], markersize=4)
        ends = [0, max(xs)]
        right.plot(ends, [view["line"].at(x) / 1e6 for x in ends], "--", color=GREY, linewidth=1)
        right.set(ylabel="memory of the server (PSS), MB", xlim=(0, None))
        right.set_title(f"dashed: {view['line'].slope / 1000:.0f} kB a stream, r² {view['line'].r2:.3f}")
        for axes in (left, right):
            axes.set(xlabel="open streams")
        save(figure, path)


def _ticks(axes: Axes, values: list[int]) -> None:
    """Ticks at the measured values of a logarithmic axis."""
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(values))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
