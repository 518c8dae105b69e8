# SPDX-License-Identifier: Apache-2.0
"""HTML report of a scoring run: one file with its pictures inside, for light and dark screens."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from eulernet_client.errors import EulerNetError
from eulernet_core.html_pages import html_environment
from eulernet_core.weights_label import weights_warning
from eulernet_core.whole_files import write_whole_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from eulernet_client._result import FrameResult, VideoResult

FRAME_WIDTH_PX = 240
FACE_SIDE_PX = 240
_BOX_COLOUR = (255, 196, 0)
# Colour-blind-safe ramp from 0 (attack) to 1 (live): dark violet, blue, green, yellow.
RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float32)
OPACITY = (0.35, 0.7)  # of the map over the face, at 0 and at 1


@dataclass(frozen=True)
class FrameFigure:
    """One frame's pictures, as data URIs."""

    caption: str
    liveness: float
    frame: str
    face: str


@dataclass(frozen=True)
class SourceFigure:
    """One scored source, its pictures drawn, so that the result and its JPEGs need not be kept."""

    path: str
    verdict: str
    liveness: float
    frames_used: int
    ms_per_frame: float
    warnings: tuple[str, ...]
    clips: tuple[tuple[FrameFigure, ...], ...]


class Report:
    """Collects results and errors, and writes them as one HTML file.

    Args:
        passed_over: lines about files that are not scored.
    """

    def __init__(self, passed_over: Sequence[str] = ()) -> None:
        self._passed_over = list(passed_over)
        self._sources: list[SourceFigure] = []
        self._errors: list[tuple[str, str, str]] = []

    def add(self, result: VideoResult) -> None:
        """Adds a result that was scored with `keep_jpegs`, and draws its pictures."""
        numbers = sorted({frame.clip for frame in result.frames})
        self._sources.append(
            SourceFigure(
                path=result.path,
                verdict=result.verdict,
                liveness=result.liveness,
                frames_used=result.frames_used,
                ms_per_frame=result.ms_per_frame,
                warnings=result.warnings,
                clips=tuple(
                    tuple(_figure(frame) for frame in result.frames if frame.clip == number) for number in numbers
                ),
            )
        )

    def add_error(self, path: str, error: EulerNetError) -> None:
        """Adds a source that could not be scored."""
        self._errors.append((path, type(error).__name__, str(error)))

    def render(self, *, weights: str, server_version: str, created: datetime | None = None) -> str:
        """The page. `created`: now by default."""
        ramp = ", ".join(f"rgb({r:.0f}, {g:.0f}, {b:.0f})" for r, g, b in RAMP)
        template = html_environment("eulernet_client").get_template("report.html.j2")
        return template.render(
            sources=self._sources,
            errors=self._errors,
            passed_over=self._passed_over,
            weights=weights,
            warning=weights_warning(weights),
            server_version=server_version,
            created=(created or datetime.now(timezone.utc)).strftime("%Y-%m-%d %H:%M %Z").strip(),
            ramp=ramp,
            live=sum(source.verdict == "live" for source in self._sources),
        )

    def write(self, path: str | Path, *, weights: str, server_version: str) -> None:
        """Writes the page to `path`, whole or not at all. A device, a pipe or a link is written through.

        Raises:
            OSError: as the system raises it.
        """
        path, page = Path(path), self.render(weights=weights, server_version=server_version)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(page, encoding="utf-8", errors="replace")
        else:
            write_whole_text(path, page)


def _figure(frame: FrameResult) -> FrameFigure:
    if frame.jpeg is None:
        raise ValueError(f"{frame.name}: no picture; score with keep_jpegs=True for a report")
    with Image.open(io.BytesIO(frame.jpeg)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    return FrameFigure(
        caption=frame.name,
        liveness=frame.liveness,
        frame=_data_uri(draw_box(picture, frame.box)),
        face=_data_uri(overlay(picture, frame.box, frame.location_map)),
    )


def draw_box(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """The whole frame, FRAME_WIDTH_PX wide, with the face box (px of `picture`) drawn on it."""
    scale = FRAME_WIDTH_PX / picture.width
    small = picture.resize((FRAME_WIDTH_PX, max(1, round(picture.height * scale))), Image.Resampling.BILINEAR)
    ImageDraw.Draw(small).rectangle([edge * scale for edge in box], outline=_BOX_COLOUR, width=2)
    return small


def overlay(
    picture: Image.Image, box: tuple[float, float, float, float], location_map: npt.NDArray[np.float32]
) -> Image.Image:
    """The face, which is the network's input, with its location map over it.

    Args:
        picture: the upright frame.
        box: x0, y0, x1, y1 in px of the frame.
        location_map: float32 (32, 32), 0 to 1.
    """
    size = (FACE_SIDE_PX, FACE_SIDE_PX)
    face = picture.resize(size, Image.Resampling.BILINEAR, box=_inside(box, picture.size))
    # Pillow resizes 32-bit floats without rounding them, which keeps the map smooth and in scale.
    smooth = Image.fromarray(np.asarray(location_map, np.float32)).resize(size, Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(smooth), 0, 1)[..., None]
    opacity = OPACITY[0] + (OPACITY[1] - OPACITY[0]) * values
    blended = np.asarray(face, np.float32) * (1 - opacity) + colours(values[..., 0]) * opacity
    return Image.fromarray(blended.round().astype(np.uint8))


def _inside(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    x0, x1 = (min(max(x, 0.0), float(width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 0.0), float(height)) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x1 - x0 >= 1 and y1 - y0 >= 1 else (0.0, 0.0, float(width), float(height))


def colours(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """values: float32 (...), 0 to 1. Returns float32 (..., 3): RGB, 0 to 255."""
    steps = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(values, steps, RAMP[:, channel]) for channel in range(3)], axis=-1).astype(np.float32)


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
