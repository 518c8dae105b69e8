# SPDX-License-Identifier: Apache-2.0
"""Eulerian video magnification (Wu, Rubinstein, Shih, Guttag, Durand and Freeman, SIGGRAPH 2012).

Each frame is decomposed by spatial wavelength, each part is filtered over time per pixel, and alpha times the output is
added to the frame. Motion is magnified on a Laplacian pyramid, colour on one level of a Gaussian pyramid.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.magnification.bandpass import BandPass, butterworth
from eulernet.magnification.image_pyramid import collapse, depth, expand, laplacian, reduce, wavelength_px

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Pyramid = Literal["laplacian", "gaussian"]

# NTSC 1953, the colour space of Wu et al.: brightness, and two colour differences with a smaller factor.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_TO_RGB = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class MagnifierSettings:
    """Parameters of the magnification.

    pyramid: "laplacian" for motion, "gaussian" for colour.
    alpha: factor of the added change; a change inside the band is magnified by 1 + alpha.
    low_hz, high_hz: the band.
    wavelength_px: spatial cutoff. "laplacian": shorter waves get less than alpha, because a large motion breaks them
        up. "gaussian": shorter waves are not magnified.
    chroma: share of alpha for the colour differences I and Q.
    """

    pyramid: Pyramid
    alpha: float
    low_hz: float
    high_hz: float
    wavelength_px: float
    chroma: float

    def __post_init__(self) -> None:
        for name in ("alpha", "chroma", "wavelength_px"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value}: choose a finite number, 0 or more")
        if not 0 < self.low_hz < self.high_hz < math.inf:
            raise ValueError(f"band from {self.low_hz:g} to {self.high_hz:g} Hz: choose 0 < low < high")

    def alpha_at(self, level: int) -> float:
        """Alpha of level 0, 1, … of a Laplacian pyramid, from the paper's bound (1 + alpha) displacement < wave / 8.

        Waves of at least `wavelength_px` get all of alpha; shorter ones get less, so that the bound holds.
        """
        if wavelength_px(level) >= self.wavelength_px:
            return self.alpha
        return max(0.0, (1.0 + self.alpha) * wavelength_px(level) / self.wavelength_px - 1.0)


# The band: from a slow blink or nod to the pulse of an excited person, as in the network's filters before training.
MOTION = MagnifierSettings("laplacian", alpha=10.0, low_hz=0.5, high_hz=3.0, wavelength_px=16.0, chroma=0.1)
# From 48 to 180 beats a minute. Waves shorter than a cheek's width contain noise rather than the pulse.
COLOUR = MagnifierSettings("gaussian", alpha=50.0, low_hz=0.8, high_hz=3.0, wavelength_px=64.0, chroma=1.0)


class Magnifier:
    """Magnifies the frames of one video, in order."""

    def __init__(self, settings: MagnifierSettings, rate_fps: float) -> None:
        """
        Raises:
            ValueError: the video's rate is too low for the band.
        """
        if not settings.high_hz < rate_fps / 2:
            raise ValueError(
                f"band up to {settings.high_hz:g} Hz: {rate_fps:.4g} frames/s can show changes only below "
                f"{rate_fps / 2:.4g} Hz; choose a lower band"
            )
        self._settings = settings
        self._sections = butterworth(settings.low_hz, settings.high_hz, rate_fps)
        self._filters: list[BandPass] = []
        self._shape: tuple[int, ...] = ()

    def __call__(self, picture: Picture) -> Picture:
        """The next frame, uint8 (H, W, 3) RGB, magnified; the first frame is returned unchanged.

        Raises:
            ValueError: its size differs from the earlier frames' size.
        """
        if self._shape and picture.shape != self._shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (self._shape, picture.shape)]
            raise ValueError(f"the frame size changes from {sizes[0]} to {sizes[1]}; convert the video to one size")
        self._shape = picture.shape
        change = cv2.transform(self._change(_transformed(picture, _TO_YIQ)), _TO_RGB)
        return np.asarray(np.clip(np.rint(picture + change), 0, 255), np.uint8)

    def _change(self, frame: Floats) -> Floats:
        """The change to add to a frame, float32 (H, W, 3) YIQ."""
        settings = self._settings
        levels = depth(*frame.shape[:2])
        if settings.pyramid == "gaussian":
            sizes = [frame]
            while len(sizes) <= levels and wavelength_px(len(sizes)) <= settings.wavelength_px:
                sizes.append(reduce(sizes[-1]))
            (change,) = self._filtered([sizes[-1]])
            change *= np.float32(settings.alpha)
            for size in reversed(sizes[:-1]):
                change = expand(change, size)
        else:
            lost, rest = laplacian(frame, levels)
            answers = self._filtered(lost)
            scaled = [np.float32(settings.alpha_at(level)) * answer for level, answer in enumerate(answers)]
            change = collapse(scaled, np.zeros_like(rest))
        return np.asarray(change * np.array([1.0, settings.chroma, settings.chroma], np.float32), np.float32)

    def _filtered(self, parts: list[Floats]) -> list[Floats]:
        self._filters = self._filters or [BandPass(self._sections, part) for part in parts]
        return [each(part) for each, part in zip(self._filters, parts, strict=True)]


def _transformed(picture: Picture, matrix: NDArray[np.float64]) -> Floats:
    """uint8 (H, W, 3) times a matrix (3, 3), as float32."""
    return np.asarray(cv2.transform(picture.astype(np.float32), matrix), np.float32)
