# SPDX-License-Identifier: Apache-2.0
"""Hands that hold a sheet by its sides: thumbs before it, palms and arms behind it, on the sheet's own picture."""

import numpy as np

from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats, Pixels
from eulernet.simulation.skin import skin_colour

_THUMB = 0.055  # half its width, widths of the sheet


def add_hands(sheet: Floats, rng: np.random.Generator) -> tuple[Floats, int]:
    """Adds one or two hands around a sheet.

    Args:
        sheet: float32 (H, W, 4), premultiplied reflectance.

    Returns:
        The sheet with room for the hands on all sides, and that room's width in pixels.
    """
    size = sheet.shape[1]
    room = round(0.24 * size)
    wide = cv2.copyMakeBorder(sheet, room, room, room, room, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    skin = skin_colour(float(rng.beta(1.1, 1.9) * 1.9), 0.5)
    both = rng.random() < 0.6
    first = float(rng.choice([-1.0, 1.0]))
    scale = float(rng.uniform(0.75, 1.2)) * size
    for side in (first, -first) if both else (first,):
        edge = np.array([room + size * (side > 0), room + float(rng.uniform(0.5, 1.05)) * sheet.shape[0]])
        _behind(wide, edge, side, scale, skin, rng)
        _thumb(wide, edge, side, scale, skin, rng)
    return np.asarray(wide, np.float32), room


def _behind(wide: Floats, edge: Floats, side: float, scale: float, skin: Floats, rng: np.random.Generator) -> None:
    """The palm beside the edge and the arm below it, under the sheet."""
    mask = np.zeros(wide.shape[:2], np.uint8)
    palm = edge + np.array([side * 0.03, 0.06]) * scale
    arm = palm + np.array([side * float(rng.uniform(0.0, 0.25)), 0.9]) * scale
    down = np.array([0, 0.08]) * scale
    _capsule(mask, palm - down, palm + down, 0.11 * scale)
    _capsule(mask, palm, arm, 0.085 * scale)
    shade = _rounded(mask, 0.06 * scale)
    alpha = (mask.astype(np.float32) / 255 * (1 - wide[..., 3]))[..., None]
    wide += np.concatenate([skin * shade[..., None], np.ones_like(alpha)], -1) * alpha


def _thumb(wide: Floats, edge: Floats, side: float, scale: float, skin: Floats, rng: np.random.Generator) -> None:
    mask = np.zeros(wide.shape[:2], np.uint8)
    angle = float(rng.normal(0.5, 0.3))
    along = np.array([-side * np.cos(angle), -np.sin(angle)])
    tip = edge + along * float(rng.uniform(0.08, 0.2)) * scale
    _capsule(mask, edge - along * 0.1 * scale, tip, _THUMB * scale)
    shadow = cv2.GaussianBlur(mask, (0, 0), 0.03 * scale).astype(np.float32)[..., None] / 255
    wide[..., :3] *= 1 - 0.45 * shadow
    shade = _rounded(mask, 0.03 * scale)
    nail = np.zeros_like(mask)
    _capsule(nail, tip, tip - along * 0.02 * scale, 0.6 * _THUMB * scale)
    colour = skin * shade[..., None] * (1 + 0.25 * (nail.astype(np.float32) / 255)[..., None])
    alpha = mask.astype(np.float32)[..., None] / 255
    wide *= 1 - alpha
    wide += np.concatenate([colour, np.ones_like(alpha)], -1) * alpha


def _capsule(mask: Pixels, start: Floats, end: Floats, radius: float) -> None:
    a, b = (tuple(round(float(v) * 16) for v in point) for point in (start, end))
    cv2.line(mask, a, b, 255, max(round(2 * radius), 1), cv2.LINE_AA, 4)


def _rounded(mask: Pixels, depth: float) -> Floats:
    """Shading of a round body: 1 in the middle, darker towards its outline."""
    inside = cv2.GaussianBlur(mask, (0, 0), depth).astype(np.float32) / 255
    return np.asarray(np.clip(0.35 + 0.75 * inside, 0, 1.05), np.float32)
