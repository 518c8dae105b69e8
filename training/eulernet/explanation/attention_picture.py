# SPDX-License-Identifier: Apache-2.0
"""Draws attention: an overview of all levels, a page per level with every map, and networks side by side.

All scales are fixed, so that pictures of different videos and networks can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from eulernet.diirf import BAND_HZ, CLIP_RATE_HZ
from eulernet.explanation.attention import Attention, Doubles, Floats, response
from eulernet_core.clip_geometry import FRAME_INTERVAL
from eulernet_core.whole_files import replacing

_PANEL_IN = 1.15
_GAP, _BAR = 0.12, 0.1  # of a panel's width: between videos, and a colour bar
_MAX_FILTERED = 2.0  # its gate is 0.88
_MAX_FEATURES = 3.0
_Axes = Any


@dataclass(frozen=True)
class Shown:
    """One video's columns; `label`: their title, `start`: number of the clip's first frame."""

    label: str
    start: int
    attention: Attention


def _spread(gates: Any) -> Any:
    """Maps 0..1 to 0..1 and amplifies small differences from 0.5, by the root of the distance."""
    away = 2 * np.asarray(gates) - 1
    return (1 + np.sign(away) * np.sqrt(np.abs(away))) / 2


def _gathered(spread: Any) -> Any:
    """The inverse of `_spread`."""
    away = 2 * np.asarray(spread) - 1
    return (1 + np.sign(away) * away**2) / 2


@dataclass(frozen=True)
class _Scale:
    """Scale of a kind of values: name and ticks of its colour bar, colours, limits."""

    name: str
    colours: str
    norm: Normalize
    extend: str = "neither"
    ticks: tuple[float, ...] | None = None


# Gates: red passes, blue blocks, 0.5 is the gate of a still picture.
_GATE = _Scale("gate", "RdBu_r", FuncNorm((_spread, _gathered), 0, 1), ticks=(0, 0.4, 0.5, 0.6, 1))
_FILTERED = _Scale("|filter|", "magma", PowerNorm(0.5, 0, _MAX_FILTERED), "max", (0, 0.1, 0.5, 1, 2))
_FEATURES = _Scale("÷ mean", "magma", Normalize(0, _MAX_FEATURES), "max")
_MAP = _Scale("map", "magma", Normalize(0, 1))


def overview(videos: Sequence[Shown], title: str) -> Figure:
    """For each frame of each video a column: face, each level's gates and |filter outputs| (means over K maps), map."""
    levels = range(len(videos[0].attention.gates))
    figure, grid = _grid(videos, 2 + 2 * len(levels), title)
    bars = grid[:, -1]
    for video, columns in _columns(videos, grid):
        attention = video.attention
        for t, column in enumerate(columns):
            _face(column[0], attention.crops[t])
            for level in levels:
                gate, filtered = column[1 + 2 * level : 3 + 2 * level]
                gates, answers = attention.gates[level][t], np.abs(attention.filtered[level][t])
                _gate(gate, attention.crops[t], gates.mean(axis=0), bars[1 + 2 * level])
                _values(filtered, answers.mean(axis=0), _FILTERED, bars[2 + 2 * level])
            _values(column[-1], attention.location_map[t], _MAP, bars[-1])
            column[-1].set_xlabel(f"{attention.liveness[t]:.3f}", fontsize=8)
    names = ["face"]
    for level in levels:
        names += [f"level {level + 1}\n{_size(videos, level)}\ngate", "|filter|"]
    _name_rows(grid[:, 0], [*names, "location map,\nliveness"])
    return figure


def level_page(videos: Sequence[Shown], level: int, filters: Doubles, title: str) -> Figure:
    """The K gates of one level, with the frequency response of each filter. filters: float64 (K, 5)."""
    figure, grid = _grid(videos, len(filters), title, extra=2.0)
    bars, responses = grid[:, -2], grid[:, -1]
    for video, columns in _columns(videos, grid):
        for t, column in enumerate(columns):
            for k, panel in enumerate(column):
                _gate(panel, video.attention.crops[t], video.attention.gates[level][t, k], bars[k])
    frequencies = np.linspace(0, CLIP_RATE_HZ / 2, 256)
    curves = response(filters, frequencies, CLIP_RATE_HZ)
    for k, (panel, curve) in enumerate(zip(responses, curves, strict=True)):
        panel.set_visible(True)
        panel.axvspan(*BAND_HZ, color="#009E73", alpha=0.15, linewidth=0)
        panel.plot(frequencies, curve, color="#0072B2", linewidth=1.2)
        panel.set(xlim=(0, CLIP_RATE_HZ / 2), ylim=(0, 1.1 * curves.max()), xticks=range(6))
        panel.yaxis.set_major_locator(MaxNLocator(4))
        panel.tick_params(labelsize=7)
        panel.yaxis.tick_right()
        panel.set_gid(f"response {k}")
    responses[0].set_title(f"|H|; green: the {BAND_HZ[0]:g} to {BAND_HZ[1]:g} Hz\nband before training", fontsize=7)
    responses[-1].set_xlabel(f"Hz, at {CLIP_RATE_HZ * FRAME_INTERVAL:g} frames/s", fontsize=7)
    _name_rows(grid[:, 0], [f"map {k + 1}" for k in range(len(filters))])
    return figure


def side_by_side(networks: Sequence[tuple[str, Sequence[Shown]]], title: str) -> Figure:
    """A row per video, a block of columns per network: features of each level and the map, at the clip's last frame."""
    first = networks[0][1]
    levels = len(first[0].attention.features)
    widths = [1.0] + ([_GAP] + [1.0] * (levels + 1)) * len(networks) + [_GAP, _BAR, 5 * _BAR, _BAR]
    figure, grid = _figure(len(first), widths, title)
    for row, video in enumerate(first):
        _face(grid[row, 0], video.attention.crops[-1])
    _name_rows(grid[:, 0], [video.label for video in first])
    for number, (name, videos) in enumerate(networks):
        left = 2 + number * (levels + 2)
        for row, video in enumerate(videos):
            panels, attention = grid[row, left : left + levels + 1], video.attention
            for panel, features in zip(panels, attention.features, strict=False):
                _values(panel, features[-1] / max(float(features[-1].mean()), 1e-9), _FEATURES, grid[row, -3])
            _values(panels[-1], attention.location_map[-1], _MAP, grid[row, -1])
            panels[-1].set_xlabel(f"{attention.liveness[-1]:.3f}", fontsize=8)
        titles = [f"features {level + 1}" for level in range(levels)] + ["location map"]
        for panel, text in zip(grid[0, left : left + levels + 1], titles, strict=True):
            panel.set_title(f"\n{text}", fontsize=7)
        grid[0, left].set_title(f"{name}\n{titles[0]}", fontsize=7, loc="left", parse_math=False)
        grid[0, left].set_title("", loc="center")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a picture in the format of the path's suffix; makes its folder."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _figure(rows: int, widths: Sequence[float], title: str) -> tuple[Figure, _Axes]:
    """A figure of invisible panels; drawing on a panel makes it visible."""
    size = _PANEL_IN * sum(widths) + 1.4, _PANEL_IN * rows + 0.12 * rows + 0.9
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for panel in grid.ravel():
        panel.set(xticks=[], yticks=[])
        panel.set_visible(False)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure, grid


def _grid(videos: Sequence[Shown], rows: int, title: str, extra: float = 0.0) -> tuple[Figure, _Axes]:
    """Columns: the frames of each video with a gap after them, the colour bars, and one more of width `extra`."""
    widths: list[float] = []
    for video in videos:
        widths += [1.0] * len(video.attention.crops) + [_GAP]
    figure, grid = _figure(rows, [*widths, _BAR, *([extra] if extra else [])], title)
    for video, columns in _columns(videos, grid):
        for t, column in enumerate(columns):
            column[0].set_title(f"\nframe {video.start + FRAME_INTERVAL * t}", fontsize=7)
        columns[0][0].set_title(f"{video.label}\nframe {video.start}", fontsize=7, loc="left", parse_math=False)
        columns[0][0].set_title("", loc="center")
    return figure, grid


def _columns(videos: Sequence[Shown], grid: _Axes) -> list[tuple[Shown, _Axes]]:
    """Each video with its panels, (T, rows)."""
    result, left = [], 0
    for video in videos:
        right = left + len(video.attention.crops)
        result.append((video, grid[:, left:right].T))
        left = right + 1
    return result


def _face(panel: _Axes, crop: Any) -> None:
    panel.set_visible(True)
    panel.imshow(crop, extent=(0, 1, 1, 0))


def _gate(panel: _Axes, crop: Any, gates: Floats, bar: _Axes) -> None:
    """Gates (S_l, S_l) over the face in grey, cell by cell, transparent at 0.5."""
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    panel.imshow(grey, extent=(0, 1, 1, 0), cmap="gray", vmin=0, vmax=1)
    _values(panel, gates, _GATE, bar, np.abs(2 * _spread(gates) - 1))


def _values(panel: _Axes, values: Floats, scale: _Scale, bar: _Axes, opacity: Any = None) -> None:
    """Values (S_l, S_l) cell by cell, with an opacity per cell; draws the scale's bar if it is still missing."""
    panel.set_visible(True)
    style = {"cmap": scale.colours, "norm": scale.norm, "alpha": opacity}
    panel.imshow(values, extent=(0, 1, 1, 0), interpolation="nearest", **style)
    if not bar.get_visible():
        bar.set_visible(True)
        colours = ScalarMappable(scale.norm, scale.colours)
        panel.figure.colorbar(colours, cax=bar, extend=scale.extend, ticks=scale.ticks)
        bar.set_title(scale.name, fontsize=6, loc="left")
        bar.tick_params(labelsize=6)


def _name_rows(panels: Sequence[_Axes], names: Sequence[str]) -> None:
    for panel, name in zip(panels, names, strict=True):
        panel.set_ylabel(name, fontsize=7, parse_math=False)


def _size(videos: Sequence[Shown], level: int) -> str:
    height, width = videos[0].attention.gates[level].shape[-2:]
    return f"{height}x{width}"
