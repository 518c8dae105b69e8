# SPDX-License-Identifier: Apache-2.0
"""The plots of a report as SVG text: ROC, DET (Martin et al. 1997), histograms of the scores, rates of the slices."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter

from eulernet.evaluation.completeness import INCOMPLETE, Key
from eulernet.evaluation.protocols import ProtocolResult
from eulernet.evaluation.report_tables import SIMULATED, marked, slice_values
from eulernet_core.attack_detection_metrics import Curve, FloatArray, Sample, curve, normal_deviate

# Okabe and Ito's colours, which colour-blind readers can distinguish; each has another dash.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
LIVE_COLOUR, ATTACK_COLOUR = COLOURS[1], COLOURS[2]
DET_TICKS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
DET_EDGE = 0.0005  # position of a rate of 0, which has no normal deviate
CORNER = 0.2
BINS = 40
Draw = Callable[[ProtocolResult, bool], str]


def _plot(draw: Draw) -> Draw:
    @wraps(draw)
    def drawn(result: ProtocolResult, simulated: bool) -> str:
        # Dollar signs in an instrument's name do not mark a formula.
        with matplotlib.rc_context({"svg.hashsalt": "eulernet", "text.parse_math": False}):
            return draw(result, simulated)

    return drawn


@_plot
def roc(result: ProtocolResult, simulated: bool) -> str:
    """1 - BPCER over APCER: the whole curve, and its corner."""
    figure = _figure(9.6, 4.4)
    whole, corner = figure.subplots(1, 2)
    for number, (name, points) in enumerate(_curves(result)):
        apcer, accepted = points.roc
        for axes in (whole, corner):
            axes.plot(apcer, accepted, label=name, **_style(number))
    for axes, side in ((whole, 1.0), (corner, CORNER)):
        axes.plot([0, 1], [1, 0], color="#999999", linewidth=0.8)
        margin = 0.02 * side
        axes.set(xlim=(-margin, side), ylim=(1 - side, 1 + margin), xlabel="APCER", ylabel="1 − BPCER", aspect="equal")
        _percent(axes)
    whole.legend(loc="lower right", fontsize=8)
    whole.set_title("ROC", fontsize=10)
    corner.set_title("its upper left corner", fontsize=10)
    return _svg(figure, result, simulated)


@_plot
def det(result: ProtocolResult, simulated: bool) -> str:
    """BPCER over APCER on normal-deviate axes."""
    figure = _figure(6.2, 5.6)
    axes = figure.subplots()
    for number, (name, points) in enumerate(_curves(result)):
        axes.plot(_deviate(points.apcer), _deviate(points.bpcer), label=name, **_style(number))
    low, high = _deviate(np.array([0.0, DET_TICKS[-1]]))
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8)
    for number, fold in enumerate(result.folds):
        point = _deviate(np.array([fold.test[Key("apcer_pooled")].value, fold.test[Key("bpcer")].value]))
        label = "at the threshold" if number == 0 else None
        colour = _style(number)["color"] if len(result.folds) > 1 else COLOURS[0]
        axes.plot(*point, marker="o", color=colour, markersize=7, linestyle="none", label=label, clip_on=False)
    ticks = normal_deviate(np.array(DET_TICKS))
    texts = [f"{100 * rate:g} %" for rate in DET_TICKS]
    axes.set_xticks(ticks, texts, fontsize=8)
    axes.set_yticks(ticks, texts, fontsize=8)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="APCER", ylabel="BPCER", aspect="equal")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(loc="upper right", fontsize=8)
    axes.set_title("DET; rates of 0 are on the edge", fontsize=10)
    return _svg(figure, result, simulated)


@_plot
def histograms(result: ProtocolResult, simulated: bool) -> str:
    """Test scores of bona fide and of each instrument, all folds together, with the threshold of each fold."""
    groups = {"bona fide": np.concatenate([fold.samples.bona_fide for fold in result.folds])}
    for name in slice_values(result, "instrument"):
        having = [fold.samples.attacks[name] for fold in result.folds if name in fold.samples.attacks]
        groups[name] = np.concatenate(having) if having else np.empty(0)
    figure = _figure(9.6, 1.0 + 1.15 * len(groups))
    rows = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), BINS, (0.0, 1.0))
    for axes, (name, scores) in zip(rows, groups.items(), strict=True):
        axes.hist(scores, edges, color=LIVE_COLOUR if name == "bona fide" else ATTACK_COLOUR)
        for fold in result.folds:
            axes.axvline(fold.threshold, color=COLOURS[0], linewidth=1, linestyle="--")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("number", fontsize=8)
        label = axes.text(
            0.5, 0.86, f"{name}: {len(scores)}", transform=axes.transAxes, ha="center", va="top", fontsize=9
        )
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5})
    rows[-1].set(xlim=(0, 1), xlabel="liveness; dashed: threshold")
    return _svg(figure, result, simulated)


@_plot
def slices(result: ProtocolResult, simulated: bool) -> str:
    """APCER (of attacks pooled) and BPCER by instrument, phone and session, with their intervals."""
    groups = [(by, slice_values(result, by)) for by in ("instrument", "phone", "session")]
    groups = [(by, values) for by, values in groups if values]
    heights = [len(values) + 1.0 for _, values in groups]
    figure = _figure(9.6, 1.2 + 0.34 * sum(heights))
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (by, values) in zip(panels, groups, strict=True):
        _slice_panel(axes, result, by, values)
    panels[-1].set_xlabel("error rate at the threshold; bars: 95 % interval")
    panels[0].legend(*_slice_legend(panels), loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
    panels[-1].set_xlim(left=0)
    _percent(panels[-1], "x")
    return _svg(figure, result, simulated)


def _slice_panel(axes: Axes, result: ProtocolResult, by: str, values: list[str]) -> None:
    apcer = "apcer" if by == "instrument" else "apcer_pooled"
    for figure, name, colour, marker, shift in (
        (apcer, "APCER", ATTACK_COLOUR, "s", -0.13),
        ("bpcer", "BPCER", LIVE_COLOUR, "o", 0.13),
    ):
        for row, value in enumerate(values):
            estimate = result.summary.get(Key(figure, by, value))
            if estimate is None:
                continue
            low, high = estimate.interval or (estimate.value, estimate.value)
            axes.plot([low, high], [row + shift] * 2, color=colour, linewidth=1.6)
            axes.plot(estimate.value, row + shift, marker, color=colour, label=name, markersize=5, clip_on=False)
    axes.set_yticks(range(len(values)), [value if by == "instrument" else f"{by} {value}" for value in values])
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)


def _slice_legend(panels: Any) -> tuple[list[Any], list[str]]:
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    return list(found.values()), list(found)


def _curves(result: ProtocolResult) -> list[tuple[str, Curve]]:
    """With one fold, curves of the pooled attacks and of each instrument; with several, a curve per fold."""
    if len(result.folds) > 1:
        return [(f"fold {fold.name}", fold.curve) for fold in result.folds]
    fold = result.folds[0]
    alone = {name: Sample(fold.samples.bona_fide, {name: scores}) for name, scores in fold.samples.attacks.items()}
    return [("attacks pooled", fold.curve), *((name, curve(sample)) for name, sample in alone.items())]


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.6}


def _deviate(rates: FloatArray) -> FloatArray:
    return normal_deviate(np.clip(rates, DET_EDGE, 1 - DET_EDGE))


def _percent(axes: Axes, which: str = "both") -> None:
    if which == "both":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.grid(color="#dddddd", linewidth=0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.tick_params(labelsize=8)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, result: ProtocolResult, simulated: bool) -> str:
    """The figure as SVG; equal figures give equal bytes."""
    incomplete = f"; {INCOMPLETE}: {', '.join(result.missing)} without score" if result.missing else ""
    figure.suptitle(marked(result.title, simulated) + incomplete, fontsize=11)
    if simulated:
        figure.text(0.5, 0.5, SIMULATED.upper(), ha="center", va="center", fontsize=54, rotation=18, alpha=0.07)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
