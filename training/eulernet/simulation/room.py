# SPDX-License-Identifier: Apache-2.0
"""The room behind a person, or behind a sheet that is held before the phone: flat areas, or walls with furniture."""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation.light import Light
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats, smooth_noise

_BRIGHTEST = 4.0  # of a window, against white paper in the room's light


@dataclass(frozen=True)
class Room:
    """A room.

    Attributes:
        furnished: whether there is furniture.
        blur_px: range of the blur by the lens, pixels at a width of 384 pixels.
        grain: range of the contrast of the surfaces' texture; of furnished rooms.
        grain_cells: range of its periods across the picture.
    """

    furnished: bool = False
    blur_px: tuple[float, float] = (0.8, 7.0)
    grain: tuple[float, float] = (0.01, 0.06)
    grain_cells: tuple[float, float] = (40.0, 200.0)


def background(rng: np.random.Generator, room: Room, height: int, width: int, light: Light) -> Floats:
    """A room in a session's light, float32 (height, width, 3), linear RGB."""
    picture = _furnished(rng, height, width, room) if room.furnished else _plain(rng, height, width)
    soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(*room.blur_px)) * width / 384)
    brightest = _BRIGHTEST if room.furnished else 1.3
    return np.asarray(np.clip(soft, 0.004, brightest) * (light.key * 0.6 + light.fill), np.float32)


def _plain(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Areas of one colour over a wall."""
    colour = np.exp(rng.normal(-1.3, 0.65)) * np.exp(rng.normal(0, 0.12, 3))
    picture = np.broadcast_to(colour, (height, width, 3)).astype(np.float32).copy()
    x, y = np.arange(width) / width, np.arange(height) / height
    slope = rng.normal(0, 0.4, 2)
    picture *= np.exp(slope[0] * (x[None, :] - 0.5) + slope[1] * (y[:, None] - 0.5))[..., None].astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        w, h = rng.uniform(0.06, 0.5) * width, rng.uniform(0.06, 0.6) * height
        left, top = rng.uniform(-0.2, 1.0) * width, rng.uniform(-0.2, 0.9) * height
        shade = np.exp(rng.normal(-1.4, 0.8)) * np.exp(rng.normal(0, 0.30, 3))
        corners = np.array([[left, top], [left + w, top], [left + w, top + h], [left, top + h]])
        corners += rng.normal(0, 0.01 * width, (4, 2))
        _fill(picture, corners, shade)
    texture = 1 + 0.06 * smooth_noise(rng, height, width, cells=float(rng.uniform(15, 90)))
    picture *= np.clip(texture, 0.5, 1.5)[..., None]
    return picture


def _fill(picture: Floats, corners: Floats, shade: Floats) -> None:
    cv2.fillPoly(picture, [np.rint(corners * 16).astype(np.int32)], tuple(float(v) for v in shade), cv2.LINE_8, 4)


class _Canvas:
    """A picture in shares of its width (x) and height (y), slightly rotated, as a phone is never held straight."""

    def __init__(self, picture: Floats, rng: np.random.Generator) -> None:
        self.picture, self.rng = picture, rng
        self.height, self.width = picture.shape[:2]
        turn = float(rng.normal(0, 0.03))
        self._turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def box(self, left: float, top: float, right: float, bottom: float, shade: Floats) -> None:
        size = np.array([self.width, self.height])
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) * size
        _fill(self.picture, (corners - size / 2) @ self._turn.T + size / 2, shade)

    def blob(self, x: float, y: float, across: float, down: float, angle_deg: float, shade: Floats) -> None:
        centre = (int(x * self.width), int(y * self.height))
        axes = (max(int(across * self.width), 1), max(int(down * self.width), 1))
        cv2.ellipse(self.picture, centre, axes, angle_deg, 0, 360, tuple(float(v) for v in shade), -1)

    def shade(self, brightness: float = -1.6, spread: float = 0.7, colourful: float = 0.3) -> Floats:
        """A random reflectance, float64 (3,)."""
        rng = self.rng
        return np.asarray(np.exp(rng.normal(brightness, spread)) * np.exp(rng.normal(0, colourful, 3)), np.float32)


def _furnished(rng: np.random.Generator, height: int, width: int, room: Room) -> Floats:
    """A wall with two to six pieces of furniture, lit unevenly."""
    colour = np.exp(rng.normal(-1.0, 0.5)) * np.exp(rng.normal(0, 0.08, 3))
    picture = np.broadcast_to(np.minimum(colour, 0.85), (height, width, 3)).astype(np.float32).copy()
    canvas = _Canvas(picture, rng)
    kinds = (_shelf, _window, _door, _frame, _curtain, _cupboard, _plant, _lamp, _clutter)
    chances = (0.14, 0.10, 0.12, 0.16, 0.09, 0.14, 0.08, 0.06, 0.11)
    for number in rng.choice(len(kinds), int(rng.integers(2, 7)), p=chances):
        kinds[int(number)](canvas, float(rng.uniform(-0.15, 1.0)))
    x, y = np.arange(width) / width, np.arange(height) / height
    slope = rng.normal(0, 0.5, 2)
    light = np.exp(slope[0] * (x[None, :] - 0.5) + slope[1] * (y[:, None] - 0.5))
    light = light * (1 + 0.10 * smooth_noise(rng, height, width, cells=3))
    contrast, cells = float(rng.uniform(*room.grain)), float(rng.uniform(*room.grain_cells))
    grain = 1 + contrast * smooth_noise(rng, height, width, cells)
    picture *= np.clip(light * grain, 0.2, 3)[..., None].astype(np.float32)
    return picture


def _shelf(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    right, rows = left + float(rng.uniform(0.25, 0.6)), int(rng.integers(2, 6))
    top, row = float(rng.uniform(-0.1, 0.3)), float(rng.uniform(0.10, 0.18))
    wood = canvas.shade(-1.5, 0.6, 0.15)
    canvas.box(left, top, right, top + rows * row, wood * 0.5)
    for k in range(rows):
        floor = top + (k + 1) * row
        x = left + 0.01
        while x < right - 0.03:
            thick = float(rng.uniform(0.008, 0.035))
            if rng.random() < 0.88:
                upper = floor - row * float(rng.uniform(0.55, 0.88))
                canvas.box(x, upper, x + thick, floor, canvas.shade(-1.7, 0.8, 0.4))
            x += thick
        canvas.box(left, floor - 0.008, right, floor + 0.006, wood)
    for x in (left, right):
        canvas.box(x - 0.008, top, x + 0.008, top + rows * row, wood)


def _window(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    right, top = left + float(rng.uniform(0.25, 0.55)), float(rng.uniform(-0.2, 0.15))
    bottom = top + float(rng.uniform(0.3, 0.6))
    canvas.box(left, top, right, bottom, np.full(3, float(rng.uniform(0.3, 0.8))))
    sky = np.array([0.9, 1.0, 1.12]) * float(np.exp(rng.uniform(-0.8, 1.3)))
    panes = int(rng.integers(1, 4))
    wide = (right - left) / panes
    horizon = top + (bottom - top) * float(rng.uniform(0.4, 0.9))
    for k in range(panes):
        x0, x1 = left + k * wide + 0.015, left + (k + 1) * wide - 0.015
        canvas.box(x0, top + 0.012, x1, bottom - 0.012, sky)
        canvas.box(x0, horizon, x1, bottom - 0.012, sky * [0.3, 0.4, 0.3])


def _door(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    right, top = left + float(rng.uniform(0.25, 0.42)), float(rng.uniform(-0.2, 0.25))
    shade = canvas.shade(-1.1, 0.6, 0.12)
    canvas.box(left - 0.02, top - 0.015, right + 0.02, 1.3, shade * 1.15)
    canvas.box(left, top, right, 1.3, shade)
    for upper in np.arange(top + 0.04, 1.1, float(rng.uniform(0.2, 0.5))):
        canvas.box(left + 0.04, upper, right - 0.04, upper + 0.16, shade * 0.8)
        canvas.box(left + 0.05, upper + 0.008, right - 0.045, upper + 0.157, shade * 1.05)


def _frame(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    top, w, h = float(rng.uniform(-0.05, 0.5)), float(rng.uniform(0.10, 0.35)), float(rng.uniform(0.08, 0.25))
    canvas.box(left + 0.01, top + 0.01, left + w + 0.012, top + h + 0.014, canvas.shade(-2.5, 0.3, 0.05))  # its shadow
    canvas.box(left, top, left + w, top + h, canvas.shade(-1.8, 0.9, 0.2))
    canvas.box(left + 0.012, top + 0.01, left + w - 0.012, top + h - 0.01, canvas.shade(-0.8, 0.5, 0.2))
    for _ in range(int(rng.integers(2, 9))):
        x, y = left + w * float(rng.uniform(0.15, 0.7)), top + h * float(rng.uniform(0.15, 0.7))
        canvas.box(x, y, x + w * float(rng.uniform(0.05, 0.25)), y + h * float(rng.uniform(0.05, 0.25)), canvas.shade())


def _curtain(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    x0, x1 = (int(np.clip(v, 0, 1) * canvas.width) for v in (left, left + float(rng.uniform(0.15, 0.4))))
    x = np.arange(x0, x1, dtype=np.float32) / canvas.width
    wave = np.sin(2 * np.pi * float(rng.uniform(12, 30)) * x + 2 * np.sin(9 * x)) + 0.5 * np.sin(70 * x)
    folds = np.exp(float(rng.uniform(0.1, 0.35)) * wave)
    canvas.picture[:, x0:x1] = folds[None, :, None] * canvas.shade(-1.2, 0.6, 0.25)


def _cupboard(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    right, top = left + float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.2, 0.75))
    shade = canvas.shade(-1.4, 0.7, 0.2)
    canvas.box(left, top, right, 1.3, shade)
    canvas.box(left, top - 0.012, right, top + 0.008, shade * 1.3)
    for x in np.arange(left, right, float(rng.uniform(0.12, 0.3))):
        canvas.box(x - 0.003, top, x + 0.003, 1.3, shade * 0.45)
        canvas.box(x + 0.02, top + 0.05, x + 0.05, top + 0.058, shade * 1.9)


def _plant(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    y = float(rng.uniform(0.3, 0.9))
    green = np.array([0.5, 1.0, 0.35]) * float(np.exp(rng.normal(-2.2, 0.4)))
    for _ in range(int(rng.integers(20, 60))):
        dx, dy = rng.normal(0, [0.07, 0.06])
        leaf = green * float(np.exp(rng.normal(0, 0.5)))
        canvas.blob(left + dx, y + dy, float(rng.uniform(0.015, 0.05)), 0.012, float(rng.uniform(0, 180)), leaf)


def _lamp(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    y, size = float(rng.uniform(-0.05, 0.6)), float(rng.uniform(0.03, 0.08))
    warm = np.array([1.2, 1.0, 0.7]) * float(np.exp(rng.uniform(0, 1.3)))
    canvas.blob(left, y, size, size * float(rng.uniform(0.6, 1.3)), 0.0, warm)


def _clutter(canvas: _Canvas, left: float) -> None:
    rng = canvas.rng
    for _ in range(int(rng.integers(6, 25))):
        x, y = left + float(rng.normal(0, 0.2)), float(rng.uniform(0.2, 1.0))
        w, h = rng.uniform(0.02, 0.14, 2)
        if rng.random() < 0.6:
            canvas.box(x, y, x + float(w), y + 0.75 * float(h), canvas.shade(-1.5, 0.9, 0.4))
        else:
            canvas.blob(x, y, float(w) / 2, float(h) / 2, float(rng.uniform(0, 180)), canvas.shade(-1.5, 0.9, 0.4))
