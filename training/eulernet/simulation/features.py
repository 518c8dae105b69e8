# SPDX-License-Identifier: Apache-2.0
"""Moving parts of a face, drawn on patches of the head's texture: gaze, blinks and the opening of the mouth.

A lid is the skin above the eye, stretched down over the eyeball; the mouth opens by moving the lower lip down.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation import head
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats
from eulernet.simulation.skin import LIPS_INNER, Looks

_RIGHT_UPPER, _RIGHT_LOWER = (33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)
_LEFT_UPPER, _LEFT_LOWER = (362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)
_SCLERA = np.array([0.62, 0.57, 0.54], np.float32)
_GUMS, _TEETH = np.array([0.05, 0.012, 0.010], np.float32), np.array([0.55, 0.50, 0.42], np.float32)


@dataclass(frozen=True)
class Expression:
    """Expression in one frame: lids, 0 open to 1 closed; gaze (right, down), -1 to 1; mouth, 0 closed to 1 open."""

    lids: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    mouth: float = 0.0


class Eye:
    """One eye on its patch of the texture."""

    def __init__(self, albedo: Floats, looks: Looks, left: bool) -> None:
        points = head.face_texels()
        upper = points[list(_LEFT_UPPER if left else _RIGHT_UPPER)]
        lower = points[list(_LEFT_LOWER if left else _RIGHT_LOWER)]
        x0, x1 = int(upper[0, 0]) - 12, int(upper[-1, 0]) + 13
        y0, y1 = int(upper[:, 1].min()) - 34, int(lower[:, 1].max()) + 22
        self.window = (slice(y0, y1), slice(x0, x1))
        self._skin = albedo[self.window].copy()
        height, width = self._skin.shape[:2]
        self._x = np.arange(width, dtype=np.float32)
        self._y = np.arange(height, dtype=np.float32)[:, None]
        self._upper = _through(self._x, upper - [x0, y0])
        self._lower = _through(self._x, lower - [x0, y0])
        ends = (upper[0, 0] - x0, upper[-1, 0] - x0)
        self._within = np.clip((self._x - ends[0]) / 3, 0, 1) * np.clip((ends[1] - self._x) / 3, 0, 1)
        self._open = float((self._lower - self._upper).max())
        self._span = float(ends[1] - ends[0])
        self._centre = (sum(ends) / 2, float((upper[4, 1] + lower[4, 1]) / 2) - y0)
        self._looks = looks
        self._grid_x = np.broadcast_to(self._x, (height, width)).astype(np.float32)

    def draw(self, expression: Expression) -> Floats:
        """The patch for the texture's `window`, float32, linear RGB."""
        margin = self._upper + (self._lower - 0.5 - self._upper) * np.float32(np.clip(expression.lids, 0, 1))
        crease = self._upper - 16
        stretched = crease + (self._y - crease) * (self._upper - crease) / np.maximum(margin - crease, 1)
        source_y = np.where((self._y > crease) & (self._y <= margin + 2), stretched, self._y).astype(np.float32)
        patch = cv2.remap(self._skin, self._grid_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = np.clip(self._y - margin + 0.5, 0, 1) * np.clip(self._lower - self._y + 0.5, 0, 1) * self._within
        patch += seen[..., None] * (self._ball(expression, margin) - patch)
        lashes = np.exp(-0.5 * ((self._y - margin) / 1.7) ** 2) * self._within * 0.85
        rim = np.exp(-0.5 * ((self._y - self._lower) / 1.3) ** 2) * self._within * 0.35
        patch *= (1 - np.maximum(lashes, rim))[..., None]
        return np.asarray(patch, np.float32)

    def _ball(self, expression: Expression, margin: Floats) -> Floats:
        radius = 0.235 * self._span
        x = self._x - (self._centre[0] + expression.gaze[0] * 0.17 * self._span)
        y = self._y - (self._centre[1] - 0.06 * self._span + expression.gaze[1] * 0.10 * self._span)
        distance = np.sqrt(x * x + y * y)
        iris = np.clip((radius - distance) / 1.6 + 0.5, 0, 1)[..., None]
        pupil = np.clip((0.40 * radius - distance) / 1.6 + 0.5, 0, 1)[..., None]
        ring = np.clip((distance / radius - 0.55) * 1.6, 0, 0.75)[..., None]
        angle = np.arctan2(y, x)
        spokes = (1 + 0.25 * np.sin(17 * angle) * np.sin(5 * angle + 1))[..., None]
        off_centre = np.abs(self._x - self._centre[0]) / (0.5 * self._span)
        shade = (1 - 0.45 * off_centre**2) * (1 - 0.55 * np.exp(-np.maximum(self._y - margin, 0) / (0.16 * self._span)))
        ball = np.broadcast_to(_SCLERA, (*distance.shape, 3)).astype(np.float32)
        ball = ball + iris * (self._looks.iris * 1.6 * spokes * (1 - ring) - ball)
        ball = ball * (1 - 0.97 * pupil)
        ball = ball * shade[..., None]
        glint_x, glint_y = x - 0.28 * radius, y + 0.35 * radius
        glint = np.exp(-0.5 * (glint_x**2 + glint_y**2) / (0.15 * radius) ** 2)
        return np.asarray(ball + 0.55 * glint[..., None], np.float32)


class Mouth:
    """The mouth on its patch of the texture; `open` moves the lower lip and the chin below it."""

    _GAP_TEXELS = 46.0

    def __init__(self, albedo: Floats) -> None:
        points = head.face_texels()
        line = points[list(LIPS_INNER)]
        x0, x1 = int(points[61, 0]) - 16, int(points[291, 0]) + 17
        y0, y1 = int(points[0, 1]) - 10, int(points[152, 1]) + 30
        self.window = (slice(y0, y1), slice(x0, x1))
        self._skin = albedo[self.window].copy()
        height, width = self._skin.shape[:2]
        x = np.arange(width, dtype=np.float32)
        self._y = np.arange(height, dtype=np.float32)[:, None]
        self._line = _through(x, line - [x0, y0]) + 1.0
        half = (line[-1, 0] - line[0, 0]) / 2
        across = (x - (width - 1) / 2) / half
        self._across = across
        self._profile = np.clip(1 - across**2, 0, 1) ** 0.6
        self._grid_x = np.broadcast_to(x, (height, width)).astype(np.float32)
        self._bottom = np.float32(height - 1)

    def draw(self, expression: Expression) -> Floats:
        """The patch for the texture's `window`, float32, linear RGB."""
        gap = self._profile * np.float32(self._GAP_TEXELS * max(expression.mouth, 0))
        lower = self._line + gap
        room = self._bottom - self._line
        moved = self._bottom - (self._bottom - self._y) * room / np.maximum(room - gap, 1)
        source_y = np.where(self._y > lower, moved, np.minimum(self._y, self._line)).astype(np.float32)
        patch = cv2.remap(self._skin, self._grid_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = np.clip(self._y - self._line + 0.5, 0, 1) * np.clip(lower - self._y + 0.5, 0, 1) * np.minimum(gap, 1)
        depth = (self._y - self._line) / 12
        teeth = np.clip(1.3 - np.abs(depth - 0.35) * 2.2, 0, 1) * np.clip(1.2 - 1.3 * self._across**2, 0, 1)
        teeth = teeth * (0.75 + 0.25 * np.abs(np.sin(self._across * 9)))
        interior = _GUMS + teeth[..., None] * (_TEETH * 0.7 - _GUMS)
        patch += inside[..., None] * (interior - patch)
        return np.asarray(patch, np.float32)


def _through(x: Floats, points: Floats) -> Floats:
    """Height at `x` of a smooth curve through points sorted by x, constant beyond its ends."""
    from scipy.interpolate import PchipInterpolator

    inside = np.clip(x, points[0, 0], points[-1, 0])
    return np.asarray(PchipInterpolator(points[:, 0], points[:, 1])(inside), np.float32)
