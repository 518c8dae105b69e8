# SPDX-License-Identifier: Apache-2.0
"""The plot of the page: simulated error rates over face size, compression and detail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes

from benchmarks.pages import STYLE, panels, save
from benchmarks.quality.quality_analysis import Bin, Row, View
from eulernet_loadtest.plots import COLOURS, GREY

RATES = (("apcer", "APCER", COLOURS[1]), ("bpcer", "BPCER", COLOURS[0]))


def errors(view: View, path: Path) -> None:
    """Three panels: over the face's side, over the rate factor, and over the detail of the crop."""
    with matplotlib.rc_context(STYLE):
        figure, (side, crf, detail) = panels(3)
        for (factor, group), dash in zip(view.sizes.items(), ("o-", "s--"), strict=False):
            _rates(side, group, [row.side_px for row in group], dash, f", crf {factor}")
        side.axvline(view.min_face_px, color=GREY, linewidth=1)
        side.set(xlabel="side of the face's square, px", title=f"line: SMALL_FACE below {view.min_face_px} px")
        _rates(crf, view.compressed, [float(row.level.rpartition(" ")[2]) for row in view.compressed], "o-", "")
        crf.set(xlabel="H.264 rate factor (crf), full size", title="bars: 95 % intervals")
        _bins(detail, view.bins)
        detail.axvline(view.min_detail, color=GREY, linewidth=1)
        detail.set(xlabel="detail of the clip's crops", title=f"line: DEGRADED below {view.min_detail:g}")
        for axes in (side, crf, detail):
            axes.set(ylabel="share, simulated", ylim=(-0.02, 1.02))
            axes.legend(frameon=False)
        save(figure, path)


def _rates(axes: Axes, group: Sequence[Row], xs: Sequence[float], dash: str, label: str) -> None:
    """A line with intervals for each error rate of a group of levels."""
    for name, shown, colour in RATES:
        rates = [getattr(row, name) for row in group]
        reach = [[max(r.value - r.low, 0) for r in rates], [max(r.high - r.value, 0) for r in rates]]
        axes.errorbar(
            xs,
            [rate.value for rate in rates],
            yerr=reach,
            fmt=dash,
            color=colour,
            markersize=4,
            linewidth=1.2,
            elinewidth=0.7,
            label=shown + label,
        )


def _bins(axes: Axes, bins: Sequence[Bin]) -> None:
    for name, shown, colour in RATES:
        points = [(each.detail, rate) for each in bins if (rate := getattr(each, name)) is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=colour, markersize=4, label=shown)
