# SPDX-License-Identifier: Apache-2.0
"""A replay attack: a video of the subject, with blinks and pulse, on a display in front of the camera.

The display's pixels are finer than the camera's, so their grid is visible as its alias, the moire: the grid's first
harmonic, attenuated by the lens, sampled at the camera's pixels (Patorski, "Handbook of the Moire Fringe Technique").
The moire is coloured, because the red, green and blue stripes are a third of a pixel apart. A pulsed backlight (or
scanned refresh) and a rolling shutter cause moving bands.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation import motion, room, sheet
from eulernet.simulation.light import Light, temperature
from eulernet.simulation.opencv import cv2
from eulernet.simulation.presets import FPS
from eulernet.simulation.randomness import Floats, smooth_noise
from eulernet.simulation.recorded_scene import RecordedScene
from eulernet.simulation.scene import Frame, Scene, View

_CODES, _BRIGHTEST = 4096, 2.0


@dataclass(frozen=True)
class Display:
    """A display.

    Attributes:
        pixels_a_pixel: approximate number of its pixels per camera pixel.
        gamma: relative to the video's.
        black: level of its black.
        banding: range of the bands' amplitude.
        moire: range of the moire's amplitude.
        reflection: of its glass.
        blue: of its white.
        blur: of video and display, pixels at a width of 384 pixels.
        beat: range of the moire's frequency, periods per camera pixel.
        fine: probability that the lens does not resolve the grid, so that there is no moire.
        level: range of the mean brightness of its picture.
        balance: share by which the video's mean colour is made grey.
        contrast: range of the contrast, which video processing increases.
        saturation: range of the colours' factor.
        kelvin: range of the white point, as logarithm of its ratio to 6500 K.
        bars: range of the display's sides to the video's; the rest is black or a bright desktop.
        bezel: width of its frame, sides of the display.
        edge_px: breadth of the edges of video, panel and frame, pixels of the picture.
    """

    pixels_a_pixel: int
    gamma: float
    black: float
    banding: tuple[float, float]
    moire: tuple[float, float]
    reflection: float
    blue: float
    blur: float = 0.46
    beat: tuple[float, float] = (0.05, 0.16)
    fine: float = 0.0
    level: tuple[float, float] = (0.20, 0.34)
    balance: float = 0.5
    contrast: tuple[float, float] = (0.90, 1.22)
    saturation: tuple[float, float] = (0.80, 1.30)
    kelvin: tuple[float, float] = (-0.45, 0.08)
    bars: tuple[float, float] = (1.0, 1.0)
    bezel: float = 0.05
    edge_px: float = 0.5


class ReplayScene:
    """A display with `video`, in a session's light."""

    def __init__(
        self,
        video: Scene | RecordedScene,
        display: Display,
        view: View,
        light: Light,
        rng: np.random.Generator,
        place: room.Room | None = None,
    ) -> None:
        self.view, self.light = view, light
        self._video, self._display = video, display
        self._hand = motion.Path(rng, 6, 1.0)
        self._turn = rng.normal(0, [0.06, 0.09, 0.025])
        self._turning = np.array([0.015, 0.02, 0.012]) * float(rng.uniform(0.4, 1.6))
        self._moving = np.array([0.022, 0.018, 0.025]) * float(rng.uniform(0.4, 1.6))
        # Number of display pixels across the picture, chosen by the fringes' width in camera pixels.
        beat = float(rng.choice([-1, 1])) * float(rng.uniform(*display.beat))
        self._pixels = (display.pixels_a_pixel + beat) * view.face_px / video.view.face_px * video.view.width
        self._moire = float(rng.uniform(*display.moire))
        self._stripes_moire = float(rng.uniform(0.2, 0.7))
        self._banding = float(rng.uniform(*display.banding))
        self._bands = float(rng.uniform(1.2, 3.6))
        self._band_speed_hz = float(rng.uniform(0.4, 4.0)) * float(rng.choice([-1, 1]))
        self._band_phase = float(rng.uniform(0, 1))
        # White, float64 (3,), is between a warm evening setting and the display's bluish default.
        white = temperature(6500.0 * float(np.exp(rng.uniform(*display.kelvin))))
        self.white = white * np.array([1.0, 1.0, display.blue]) * np.exp(rng.normal(0, 0.03, 3))
        self._balance: Floats | None = None
        self._tones = _tones(display, float(rng.uniform(*display.contrast)))
        saturation = float(rng.uniform(*display.saturation))
        self._colours = (saturation * np.eye(3) + (1 - saturation) / 3).astype(np.float32)
        self._level_wanted = float(rng.uniform(*display.level))
        self._room = room.background(rng, place or room.Room(), view.height, view.width, light)
        self._reflected = self._draw_reflection(rng)
        self._bezel = float(np.exp(rng.normal(-3.6, 0.6)))
        if display.fine:
            self._moire *= float(rng.random() >= display.fine)
        self._bars, self._bar_light = np.ones(2, np.float32), np.float32(0)
        if display.bars[1] > 1:
            self._draw_bars(rng)
        # The displayed video has the blur of its camera and is slightly enlarged.
        self.medium_blur_px = display.blur * view.width / 384

    def _draw_bars(self, rng: np.random.Generator) -> None:
        """The part of the display around the video: beside it or on all sides, black, or bright as a desktop."""
        beside = float(rng.uniform(*self._display.bars))
        self._bars = np.array([beside, 1.0 + (beside - 1) * float(rng.choice([0.0, 0.2]))], np.float32)
        self._bar_light = np.float32(rng.uniform(0.1, 0.9) if rng.random() < 0.25 else self._display.black)

    def _draw_reflection(self, rng: np.random.Generator) -> Floats:
        """Reflections in the glass: the dim room and up to two lamps; float32 (H, W, 3)."""
        height, width = self.view.height, self.view.width
        room = cv2.GaussianBlur(self._room[:, ::-1], (0, 0), width / 24) * 0.5
        for _ in range(int(rng.integers(0, 3))):
            x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 0.9) * height
            size = rng.uniform(0.04, 0.16, 2) * width
            across = np.exp(-0.5 * np.abs((np.arange(width) - x) / size[0]) ** 3)
            down = np.exp(-0.5 * np.abs((np.arange(height) - y) / size[1]) ** 3)
            room += (down[:, None] * across[None, :])[..., None] * self.light.key * float(rng.uniform(0.5, 5.0))
        smear = 1 + 0.15 * smooth_noise(rng, height, width, cells=12)[..., None]
        return np.asarray(room * smear * self._display.reflection, np.float32)

    def pose(self, time_s: float) -> sheet.SheetPose:
        """Pose of the display at a time."""
        hand = self._hand(time_s)
        turn = self._turn + self._turning * hand[:3]
        return sheet.hold(self.view, self._video.view, turn, self._moving * hand[3:6], 0.0)

    def frame(self, time_s: float) -> Frame:
        """The scene at a time."""
        shown = self._video.frame(time_s)
        pose = self.pose(time_s)
        height, width = self.view.height, self.view.width
        u, v = sheet.unproject(pose, height, width)
        source = self._video.view
        map_x = u * np.float32(source.width) + np.float32(source.width / 2 - 0.5)
        map_y = v * np.float32(source.width) + np.float32(source.height / 2 - 0.5)
        if self._balance is None:
            mean = shown.picture.mean((0, 1))
            level = self._level_wanted / max(float(mean.mean()), 1e-3)
            self._balance = ((mean.mean() / mean) ** self._display.balance * level).astype(np.float32)
        seen = cv2.remap(shown.picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = cv2.transform(seen, self._colours * (self._balance * np.float32(_CODES / _BRIGHTEST)))
        np.clip(seen, 0, _CODES - 1, out=seen)
        picture = np.take(self._tones, seen.astype(np.uint16))
        picture *= self._grid(u, v)
        picture *= self._backlight(time_s) * self.white.astype(np.float32)
        down = v * np.float32(source.width / source.height)
        if max(float(np.abs(u).max()), float(np.abs(down).max())) > 0.5 - 2 / width:
            sharpness = width / self._display.edge_px
            edge = _inside(u, down, sharpness)
            bars, bezel = self._bars, 1 + np.float32(self._display.bezel)
            panel = edge if bars[0] == 1 else _inside(u / bars[0], down / bars[1], sharpness)
            frame = _inside(u / (bars[0] * bezel), down / (bars[1] * bezel), sharpness)
            picture *= edge
            picture += (panel - edge) * self._bar_light
            picture += (frame - panel) * np.float32(self._bezel) * self.light.fill + (1 - frame) * self._room
            picture += frame * self._reflected
        else:
            picture += self._reflected
        eyes = sheet.project(pose, sheet.on_sheet(source, shown.eyes), height, width)
        points = sheet.project(pose, sheet.on_sheet(source, shown.points), height, width)
        return Frame(np.asarray(picture, np.float32), eyes, points)

    def _grid(self, u: Floats, v: Floats) -> Floats:
        """The moire of the display's pixels: factors around 1, float32 (H, W, 3)."""
        across = np.float32(2 * np.pi * self._pixels) * u
        down = np.float32(2 * np.pi * self._pixels) * v
        rows = np.float32(self._moire * 0.7) * np.cos(down)
        cos, sin = np.cos(across), np.sin(across)
        strength = np.float32(self._moire)
        mixed = np.float32(self._stripes_moire)
        grid = np.empty((*u.shape, 3), np.float32)
        for channel in range(3):
            angle = 2 * np.pi / 3 * (channel - 1) * mixed
            turned = cos * np.float32(np.cos(angle)) + sin * np.float32(np.sin(angle))
            grid[..., channel] = 1 + rows + strength * turned
        return grid

    def _backlight(self, time_s: float) -> Floats:
        """Bands over the rows, float32 (H, 1, 1)."""
        rows = np.arange(self.view.height, dtype=np.float32)[:, None, None] / self.view.height
        turn = self._bands * rows + self._band_speed_hz * round(time_s * FPS) / FPS + self._band_phase
        wave = np.cos(2 * np.pi * turn)
        return np.asarray(1 + self._banding * (wave + 0.25 * np.cos(4 * np.pi * turn)), np.float32)


def _tones(display: Display, contrast: float) -> Floats:
    """The display's output for linear light, by 8-bit video, its gamma and its black level; float32 (4096,)."""
    light = np.arange(_CODES) * (_BRIGHTEST / _CODES)
    # Video processing increases the contrast around a middle grey.
    light = 0.25 * (light / 0.25) ** contrast
    shown = light / (1 + 0.25 * light * light)
    video = np.rint(np.clip(shown, 0, 1) ** (1 / 2.2) * 255) / 255
    return np.asarray(video ** (2.2 * display.gamma) + display.black, np.float32)


def _inside(u: Floats, v: Floats, sharpness: float) -> Floats:
    """1 for |u| and |v| below 0.5, with an edge of breadth 1 / `sharpness`: float32 (H, W, 1)."""
    distance = np.maximum(np.abs(u), np.abs(v))
    return np.asarray(np.clip((0.5 - distance) * sharpness + 0.5, 0, 1)[..., None], np.float32)
