# SPDX-License-Identifier: Apache-2.0
"""Levels of degradation: face size, H.264 quantiser and blur, and their application to the frames of a video."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from eulernet.datasets.mp4 import SAME_EVERYWHERE, label_bt709
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_core.video import upright

Picture = NDArray[np.uint8]
Box = NDArray[np.float32]

RECORDED = "recorded"
CRFS = (18, 23, 28, 33, 38, 43)
SIDES_PX = (256, 192, 160, 128, 96, 64)
SIDE_CRFS = (18, 28)
BLURS_PX = (1.0, 1.5, 2.0)
X264_PRESET = "veryfast"


@dataclass(frozen=True)
class Level:
    """One degradation; without any value set, the frames as they were recorded.

    Attributes:
        side_px: side of the face's square after scaling the frames down, None for the recorded size.
        crf: H.264 constant rate factor, None for no encoding.
        blur_px: standard deviation of a Gaussian blur, in px of the network's crop.
    """

    side_px: int | None = None
    crf: int | None = None
    blur_px: float = 0.0

    @property
    def name(self) -> str:
        """`recorded`, `blur 1.5` or `128 px, crf 28`."""
        if self.blur_px:
            return f"blur {self.blur_px:g}"
        if self.crf is None:
            return RECORDED
        return f"{'full size' if self.side_px is None else f'{self.side_px} px'}, crf {self.crf}"


def levels() -> tuple[Level, ...]:
    """All levels, the recorded frames first."""
    compressed = [Level(crf=crf) for crf in CRFS]
    scaled = [Level(side, crf) for crf in SIDE_CRFS for side in SIDES_PX]
    return (Level(), *compressed, *scaled, *(Level(blur_px=blur) for blur in BLURS_PX))


@dataclass(frozen=True)
class Degraded:
    """`frames`: uint8 (h, w, 3) RGB each; `box`: float32 (4,), x0, y0, x1, y1 px of them, a square; `kbit_s`: of the
    encoded video, None without encoding."""

    frames: Sequence[Picture]
    box: Box
    kbit_s: float | None


def degrade(frames: Sequence[Picture], box: Box, level: Level, fps: float) -> Degraded:
    """Applies a level to all frames of a video.

    Args:
        frames: uint8 (H, W, 3) RGB each, of one size.
        box: float32 (4,), the face's square in px of the frames.
        fps: frames/s.
    """
    if level.blur_px:
        sigma_px = level.blur_px * float(box[2] - box[0]) / FACE_SIDE_PX
        return Degraded([np.asarray(cv2.GaussianBlur(each, (0, 0), sigma_px), np.uint8) for each in frames], box, None)
    if level.crf is None:
        return Degraded(frames, box, None)
    height, width = frames[0].shape[:2]
    # A face that has fewer pixels already keeps its size.
    scale = 1.0 if level.side_px is None else min(1.0, level.side_px / float(box[2] - box[0]))
    size = _even(width * scale), _even(height * scale)
    data = encode(frames, size, level.crf, fps)
    kbit_s = 8e-3 * len(data) * fps / len(frames)
    return Degraded(decode(data), scaled_square(box, (width, height), size), kbit_s)


def encode(frames: Sequence[Picture], size: tuple[int, int], crf: int, fps: float) -> bytes:
    """Scales frames to `size` (width, height) px, even numbers, and encodes them as H.264 (BT.709) in MP4."""
    buffer = io.BytesIO()
    options = {"crf": str(crf), "preset": X264_PRESET, **SAME_EVERYWHERE}
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        label_bt709(stream.codec_context)
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                *size,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC,  # as FFmpeg's filter `scale`
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode(data: bytes) -> list[Picture]:
    """All frames of a video in memory: uint8 (H, W, 3) RGB each."""
    with av.open(io.BytesIO(data)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [upright(frame) for frame in container.decode(video=0)]


def scaled_square(box: Box, before: tuple[int, int], after: tuple[int, int]) -> Box:
    """The square of whole pixels that a square `box` becomes when a picture is scaled from one size to another.

    Args:
        before, after: width and height, px.
    """
    x, y = after[0] / before[0], after[1] / before[1]
    side = min(max(round(float(box[2] - box[0]) * x), 2), *after)
    left = min(round(float(box[0]) * x), after[0] - side)
    top = min(round(float(box[1]) * y), after[1] - side)
    return np.array([left, top, left + side, top + side], np.float32)


def _even(length: float) -> int:
    return max(2 * round(length / 2), 2)
