# SPDX-License-Identifier: Apache-2.0
"""A phone's camera: the effects of lens, hand, sensor and image processor.

Order: hand shake and rolling shutter, lens blur, vignetting, exposure and white balance, shot and read noise (Foi et
al. 2008: the variance is linear in the signal), tone curve, sharpening, 8 bits. `video_file` encodes the result.
"""

import functools
from dataclasses import dataclass

import numpy as np

from eulernet.colour import LUMA
from eulernet.simulation.motion import Path
from eulernet.simulation.opencv import cv2
from eulernet.simulation.presets import FPS
from eulernet.simulation.randomness import Floats, Pixels, stream

_CODES = 4096
_LUMA = np.array(LUMA, np.float32)


@dataclass(frozen=True)
class Phone:
    """A phone's front camera. Blur in pixels at a width of 384 pixels."""

    blur_px: float
    shot_noise: float  # variance at full signal
    read_noise: float  # standard deviation
    white: tuple[float, float, float]
    saturation: float
    contrast: float
    sharpening: float
    readout_s: float  # time between the first and the last row
    shake_px: float
    vignetting: float
    quantiser: int


@dataclass(frozen=True)
class Exposure:
    """Automatic exposure and white balance.

    Attributes:
        level: median and logarithmic deviation of the metered part's mean brightness in the picture.
        spread: of the metered part, widths of the picture squared, about the picture's middle; None: it is the face.
        white_sd: logarithmic deviation of the white balance's red, green and blue.
        adaptation: range of the share of the light's colour that it removes.
        illuminant: share of the lamps' true colour in its estimate; the rest is the metered part's mean colour.
        contrast: range of a factor of the phone's contrast.
        veil: largest stray light in the lens.
        hunting: median and logarithmic deviation of its slow relative changes' standard deviation.
        sway: range of the hand's slow motion, standard deviation in widths of the picture; (0, 0): none.
    """

    level: tuple[float, float] = (0.19, 0.22)
    spread: float | None = 0.18
    white_sd: tuple[float, float, float] = (0.08, 0.02, 0.10)
    adaptation: tuple[float, float] = (0.45, 0.9)
    illuminant: float = 0.0
    contrast: tuple[float, float] = (0.76, 1.20)
    veil: float = 0.03
    hunting: tuple[float, float] = (0.013, 0.6)
    sway: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Flicker:
    """Ripple of the light at the mains' frequency: amplitude, and frequency in hertz."""

    amplitude: float
    rate_hz: float


class Camera:
    """One hand-held phone during one video.

    Args:
        phone: its parameters.
        rng: of this video.
        height: of the picture, pixels.
        width: of the picture, pixels.
        flicker: of the light on the scene.
        medium_blur_px: blur of the scene's picture if it is a print or a display; the lens blur is reduced by it, so
            that sharpness alone does not reveal an attack.
        exposure: its automatic control.
        face: middle and width of the face, pixels, for an exposure that meters it.
        lamps: float32 (3,), colour of the light on the scene, for the white balance.
        fps: frames/s.
    """

    def __init__(
        self,
        phone: Phone,
        rng: np.random.Generator,
        height: int,
        width: int,
        flicker: Flicker | None = None,
        medium_blur_px: float = 0.0,
        exposure: Exposure | None = None,
        face: tuple[float, float, float] | None = None,
        lamps: Floats | None = None,
        fps: float = FPS,
    ) -> None:
        self._phone, self._size, self._face = phone, (width, height), face
        self._lamps, self._fps = lamps, fps
        self._metering = exposure or Exposure()
        scale = width / 384
        self._shake = Path(rng, 3, 0.9)
        self._shake_px = phone.shake_px * scale * float(rng.uniform(0.6, 1.6))
        wanted = phone.blur_px * scale * float(rng.uniform(0.75, 1.35))
        self._blur_px = float(np.sqrt(max(wanted**2 - medium_blur_px**2, 0.3**2)))
        self._flicker = flicker or Flicker(0.0, 100.0)
        self._flicker_phase = float(rng.uniform(0, 2 * np.pi))
        self._white = np.array(phone.white) * np.exp(rng.normal(0, self._metering.white_sd))
        self._adaptation = float(rng.uniform(*self._metering.adaptation))
        self._level = float(np.exp(rng.normal(np.log(self._metering.level[0]), self._metering.level[1])))
        self._noise_gain = float(rng.uniform(0.7, 1.6))
        self._noise_at = rng.integers(0, 2**31, 1 << 12)
        self._veil = float(rng.uniform(0, self._metering.veil))
        self._contrast = phone.contrast * float(rng.uniform(*self._metering.contrast))
        self._saturation = phone.saturation * float(rng.uniform(0.8, 1.15))
        self._sharpening = phone.sharpening * float(rng.uniform(0.5, 1.3))
        self.quantiser = int(np.clip(phone.quantiser + rng.integers(-2, 4), 2, 9))
        # Automatic exposure follows the scene with a lag and fluctuates slightly.
        self._following = float(rng.uniform(0.10, 0.40))
        self._exposure, self._metered = 1.0, 0.0
        self._hunting = Path(rng, 1, 0.7)
        median, deviation = self._metering.hunting
        self._hunting_by = float(np.exp(rng.normal(np.log(median), deviation)))
        self._gain: Floats | None = None
        self._curve = _tone_curve(self._contrast)
        self._sway, self._sway_px = self._shake, 0.0
        if self._metering.sway[1]:
            self._sway = Path(rng, 2, 1.6)
            self._sway_px = float(np.exp(rng.uniform(*np.log(self._metering.sway)))) * width

    def _shift(self, time_s: float) -> Floats:
        moved = self._shake(time_s) * np.array([self._shake_px, self._shake_px, 0.0025], np.float32)
        if self._sway_px:
            moved[:2] += self._sway_px * self._sway(time_s)
        return moved

    def shutter_map(self, index: int) -> Floats:
        """Motion of a still scene's pixels in frame `index`: affine float32 (2, 3), with the rolling shutter."""
        width, height = self._size
        top = self._shift(index / self._fps)
        drift = self._shift(index / self._fps + self._phone.readout_s) - top
        x, y = width / 2, height / 2
        roll = float(top[2])
        matrix = np.array([[1, -roll + drift[0] / height, 0], [roll, 1 + drift[1] / height, 0]], np.float32)
        matrix[:, 2] = top[:2] - (matrix[:, :2] @ [x, y] - [x, y]) + np.array([drift[0] / 2, drift[1] / 2])
        return matrix

    def expose(self, scene: Floats, index: int) -> Pixels:
        """The picture of a scene, float32 (H, W, 3) linear RGB, as frame `index`: uint8 (H, W, 3) RGB."""
        seen = cv2.warpAffine(scene, self.shutter_map(index), self._size, borderMode=cv2.BORDER_REFLECT_101)
        seen = cv2.GaussianBlur(seen, (0, 0), self._blur_px)
        if self._gain is None:
            self._gain = self._meter(seen)
        seen = cv2.transform(seen * (self._gain * (self._follow(seen) * self._ripple(index))), self._colours)
        seen += self._veil
        self._add_noise(seen, index)
        codes = np.clip(seen * (_CODES - 1), 0, _CODES - 1).astype(np.uint16)
        picture: Pixels = np.take(self._curve, codes)
        soft = cv2.GaussianBlur(picture, (0, 0), 1.1)
        return np.asarray(cv2.addWeighted(picture, 1 + self._sharpening, soft, -self._sharpening, 0), np.uint8)

    def _meter(self, seen: Floats) -> Floats:
        """Gain from exposure and white balance of the first frame, with a weighted mean; constant afterwards."""
        width, height = self._size
        x = (np.arange(width, dtype=np.float32) - width / 2) / width
        y = (np.arange(height, dtype=np.float32) - height / 2) / width
        radius = (x[None, :] ** 2 + y[:, None] ** 2)[..., None]
        middle = self._metered_part(radius)
        mean = (seen * middle).sum((0, 1)) / middle.sum()
        neutral = mean @ _LUMA
        to_grey, known = neutral / np.maximum(mean, 1e-3), self._metering.illuminant
        if known and self._lamps is not None:
            to_grey = to_grey ** (1 - known) * (float(self._lamps @ _LUMA) / self._lamps) ** known
        balance = to_grey**self._adaptation * self._white
        # Skin is not grey, so the white balance keeps a warm tint.
        balance = balance * np.array([1.16, 1.0, 0.88]) ** (self._adaptation * (1 - known))
        level = self._level / max(float((mean * balance) @ _LUMA), 1e-3)
        saturation = self._saturation
        self._colours = (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)).astype(np.float32)
        return np.asarray(balance * level * (1 - self._phone.vignetting * radius * 1.6), np.float32)

    def _metered_part(self, radius: Floats) -> Floats:
        """Weights of the pixels in the metering, float32 (H, W, 1); `radius`: squared, widths of the picture."""
        if self._metering.spread is not None or self._face is None:
            return np.asarray(np.exp(-radius / (self._metering.spread or 0.18)), np.float32)
        width, height = self._size
        x, y, size = self._face
        across = np.exp(-(((np.arange(width, dtype=np.float32) - x) / (0.5 * size)) ** 2))
        down = np.exp(-(((np.arange(height, dtype=np.float32) - y) / (0.6 * size)) ** 2))
        return np.asarray(down[:, None, None] * across[None, :, None] + 0.03, np.float32)

    def _follow(self, seen: Floats) -> np.float32:
        """Factor of the automatic exposure, which corrects a part of the previous frame's error."""
        height, width = self._size[1], self._size[0]
        level = float(seen[height // 6 : 5 * height // 6 : 8, width // 6 : 5 * width // 6 : 8].mean())
        self._metered = self._metered or level
        self._exposure *= (self._metered / (level * self._exposure)) ** self._following
        return np.float32(self._exposure)

    def _ripple(self, index: int) -> Floats:
        """Exposure and the mains' ripple over the rows, by their readout times: float32 (H, 1, 1)."""
        rows = np.arange(self._size[1], dtype=np.float32)[:, None, None] / self._size[1]
        time_s = index / self._fps + rows * self._phone.readout_s
        wave = np.cos(2 * np.pi * self._flicker.rate_hz * time_s + self._flicker_phase)
        level = np.exp(self._hunting_by * self._hunting(index / self._fps)[0])
        return np.asarray(level * (1 + self._flicker.amplitude * wave), np.float32)

    def _add_noise(self, seen: Floats, index: int) -> None:
        height, width = seen.shape[:2]
        pool = _noise_pool(height, width)
        start = int(self._noise_at[index % len(self._noise_at)])
        top, left = start % 61, (start // 61) % 61
        noise = pool[top : top + height, left : left + width]
        if start & 1 << 20:
            noise = noise[:, ::-1]
        phone = self._phone
        variance = np.maximum(seen @ _LUMA, 0) * np.float32(phone.shot_noise * self._noise_gain**2)
        variance += np.float32((phone.read_noise * self._noise_gain) ** 2)
        seen += np.sqrt(variance)[..., None] * noise


@functools.lru_cache(maxsize=2)
def _noise_pool(height: int, width: int) -> Floats:
    """Noise after a denoiser, slightly larger than a picture; each frame uses another window of it."""
    white = stream(0, "noise").standard_normal((height + 64, width + 64, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(white, (0, 0), 0.55)
    # The denoiser smooths chroma noise more than luma noise.
    grey = soft.mean(2, keepdims=True)
    mixed = grey * 1.6 + 0.7 * (cv2.GaussianBlur(soft, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), 0.8)[..., None])
    return np.asarray(mixed / mixed.std(), np.float32)


def _tone_curve(contrast: float) -> Pixels:
    """Linear light to 8 bits: a shoulder for highlights, the sRGB gamma, an S curve; uint8 (4096,)."""
    light = np.arange(_CODES) / (_CODES - 1)
    rolled = np.where(light < 0.6, light, 0.6 + 0.4 * (1 - np.exp(-(light - 0.6) / 0.4)))
    gamma = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055)
    curved = 0.46 + contrast * (gamma - 0.46)
    soft = np.where(curved < 0.06, 0.06 * np.exp((curved - 0.06) / 0.06), curved)
    return np.asarray(np.clip(np.rint(255 * soft), 0, 255), np.uint8)
