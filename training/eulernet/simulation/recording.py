# SPDX-License-Identifier: Apache-2.0
"""How videos are recorded: size, sharpness and codec, drawn alike for living faces and attacks.

A trace that compression removes must not be a proof of life, nor one that it leaves.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Pixels

_MULTIPLE_PX = 16  # the scene is drawn at half its size, and sheets in blocks of eight


@dataclass(frozen=True)
class Encoding:
    """Motion JPEG with a fixed quantiser (2 is about JPEG quality 95, 6 about 80), or H.264 with a rate factor."""

    h264: bool
    quality: int


@dataclass(frozen=True)
class Recording:
    """Of one video.

    Attributes:
        height_px: of the pictures.
        width_px: of the pictures.
        detail: pixels that a picture really has, per pixel in each direction: below 1 it was enlarged.
        encoding: of the file.
    """

    height_px: int
    width_px: int
    detail: float
    encoding: Encoding | None

    def soften(self, picture: Pixels) -> Pixels:
        """The picture uint8 (H, W, 3) with its `detail`."""
        if self.detail >= 1:
            return picture
        fewer = (round(self.width_px * self.detail), round(self.height_px * self.detail))
        small = cv2.resize(picture, fewer, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (self.width_px, self.height_px), interpolation=cv2.INTER_CUBIC), np.uint8)


@dataclass(frozen=True)
class Recordings:
    """Distribution of recordings.

    Attributes:
        scales: sizes relative to the preset's, equally likely.
        softened: probability of a `detail` below 1.
        detail: its range.
        h264: probability of H.264, with a rate factor from `crf`; otherwise the phone's quantiser counts.
        crf: range of the rate factor, both ends included.
    """

    scales: tuple[float, ...]
    softened: float
    detail: tuple[float, float]
    h264: float
    crf: tuple[int, int]

    def draw(self, rng: np.random.Generator, height_px: int, width_px: int) -> Recording:
        """The recording of a video for a preset's size."""
        scale = float(rng.choice(self.scales))
        soft, detail = float(rng.random()), float(rng.uniform(*self.detail))
        h264, crf = float(rng.random()), int(rng.integers(self.crf[0], self.crf[1] + 1))
        return Recording(
            height_px=_rounded(height_px * scale) if scale != 1 else height_px,
            width_px=_rounded(width_px * scale) if scale != 1 else width_px,
            detail=detail if soft < self.softened else 1.0,
            encoding=Encoding(True, crf) if h264 < self.h264 else None,
        )


def _rounded(size_px: float) -> int:
    return max(round(size_px / _MULTIPLE_PX), 1) * _MULTIPLE_PX
