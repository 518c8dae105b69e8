# SPDX-License-Identifier: Apache-2.0
"""The slides' first figure: live, print and replay, as recorded and magnified, each with a slice through time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eulernet_core.whole_files import replacing

Picture = NDArray[np.uint8]
_FRAME_IN = 1.5  # width of a frame
_SLICE = 1.8  # widths of a frame


@dataclass
class Row:
    """The part of the picture for one video. Filled by `watched`.

    frames: number of frames to show, evenly spaced; column_px: of the slice, None for the middle.
    """

    label: str
    rate_fps: float
    announced: int
    frames: int = 4
    column_px: int | None = None
    simulated: bool = False
    shown: list[tuple[int, Picture, Picture]] = field(default_factory=list)
    columns: list[tuple[Picture, Picture]] = field(default_factory=list)

    def watched(self, pairs: Iterable[tuple[Picture, Picture]]) -> Iterator[Picture]:
        """Passes on the magnified frames of pairs, uint8 (H, W, 3) RGB each, and keeps the frames and columns to show.

        Raises:
            ValueError: the column is outside the frames.
        """
        step = max(self.announced / self.frames, 1.0)
        wanted = {int((k + 0.5) * step) for k in range(self.frames)}
        last: list[tuple[int, Picture, Picture]] = []
        for index, (before, after) in enumerate(pairs):
            width = before.shape[1]
            if self.column_px is None:
                self.column_px = width // 2
            if not 0 <= self.column_px < width:
                raise ValueError(f"column {self.column_px}: the frames have columns 0 to {width - 1}")
            self.columns.append((before[:, self.column_px].copy(), after[:, self.column_px].copy()))
            last = [(index, before, after)]
            if index in wanted:
                self.shown += last
            yield after
        self.shown = self.shown or last  # fewer frames than the file announces

    def slices(self) -> tuple[Picture, Picture]:
        """The column over time, as recorded and magnified: uint8 (H, T, 3) RGB."""
        before, after = (np.stack(columns, axis=1) for columns in zip(*self.columns, strict=True))
        return before, after


def draw_strip(rows: Sequence[Row], caption: str, path: Path) -> None:
    """Writes a picture with two rows per video: as recorded and magnified."""
    count = max(len(row.shown) for row in rows)
    heights = [row.shown[0][1].shape[0] / row.shown[0][1].shape[1] for row in rows for _ in range(2)]
    widths = [1.0] * count + [_SLICE]
    size = _FRAME_IN * sum(widths) + 0.8, _FRAME_IN * sum(heights) + 0.3 * len(heights) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2 * len(rows), count + 1, squeeze=False, width_ratios=widths, height_ratios=heights)
    for panel in grid.ravel():
        panel.set(xticks=[], yticks=[])
        panel.set_visible(False)
    for row, lines in zip(rows, np.split(grid, len(rows)), strict=True):
        for magnified, line in enumerate(lines):
            _draw_line(row, magnified, line)
        lines[1, -1].set_xticks([0, len(row.columns) / row.rate_fps])
        lines[1, -1].set_xlabel("s", fontsize=7, labelpad=-7)
        lines[1, -1].tick_params(labelsize=7)
    grid[0, -1].set_title("one column over time", fontsize=8)
    figure.suptitle(caption, fontsize=9, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_line(row: Row, magnified: int, line: Sequence[Any]) -> None:
    """The frames and the slice of one video, recorded (0) or magnified (1)."""
    height, width = row.shown[0][1].shape[:2]
    for (index, *pair), panel in zip(row.shown, line[:-1], strict=False):
        panel.set_visible(True)
        if not magnified:
            panel.set_title(f"frame {index}", fontsize=7, pad=3)
        panel.imshow(pair[magnified], extent=(0, width, height, 0))
        panel.axvline((row.column_px or 0) + 0.5, color="#56B4E9", linewidth=0.8)
    line[-1].set_visible(True)
    line[-1].set_box_aspect(height / width / _SLICE)
    seconds = len(row.columns) / row.rate_fps
    line[-1].imshow(row.slices()[magnified], extent=(0, seconds, height, 0), aspect="auto", interpolation="nearest")
    name = f"{row.label} (simulated)" if row.simulated else row.label
    text = "magnified" if magnified else f"{name}\nas recorded"
    line[0].set_ylabel(text, fontsize=8, parse_math=False)
