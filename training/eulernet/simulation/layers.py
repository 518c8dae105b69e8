# SPDX-License-Identifier: Apache-2.0
"""Flat layers behind the head: neck and shoulders, long hair. Drawn once per video and moved with the body."""

import numpy as np

from eulernet.simulation.light import Light
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats, smooth_noise
from eulernet.simulation.skin import Clothes, Looks, skin_colour

_NECK_END = 1.12  # widths of the face below the eyes


def shoulders(
    rng: np.random.Generator,
    looks: Looks,
    light: Light,
    height: int,
    width: int,
    eyes: Floats,
    scale: float,
    clothes: Clothes | None = None,
) -> Floats:
    """Neck and clothes, premultiplied RGBA float32 (height, width, 4).

    Args:
        rng: of the clothes.
        looks: of the person.
        light: of the session.
        height: of the picture, pixels.
        width: of the picture, pixels.
        eyes: float32 (2,), the point between the eyes, pixels.
        scale: pixels per width of the face, at the neck's distance.
        clothes: their patterns.
    """
    clothes = clothes or Clothes()
    u = ((np.arange(width, dtype=np.float32) - eyes[0]) / scale)[None, :]
    v = ((np.arange(height, dtype=np.float32) - eyes[1]) / scale)[:, None]
    neck_half = 0.335 + 0.9 * np.clip(v - 0.86, 0, 1) ** 1.6
    neck = np.clip((neck_half - np.abs(u)) * scale * 0.5 + 0.5, 0, 1) * np.clip((v - 0.25) * scale, 0, 1)
    slope = float(rng.uniform(0.20, 0.42))
    shoulder = 0.92 + slope * np.abs(u) ** 1.5 + 0.5 * np.clip(np.abs(u) - 1.25, 0, 9) ** 2 * 4
    neckline = _NECK_END + float(rng.uniform(-0.08, 0.16)) - float(rng.uniform(0.7, 2.2)) * u**2
    cloth = np.clip((v - shoulder) * scale * 0.5 + 0.5, 0, 1) * np.clip((v - neckline) * scale * 0.5 + 0.5, 0, 1)

    round_x = np.clip(u / np.maximum(neck_half, 0.3), -0.97, 0.97)
    normal = np.stack(np.broadcast_arrays(round_x, 0 * v + 0.12, -np.sqrt(1 - round_x**2)), -1)
    under_chin = 1 - 0.62 * np.exp(-((np.clip(v - 0.70, 0, 9) / 0.17) ** 2)) * np.exp(-((u / 0.5) ** 2))
    skin = skin_colour(looks.melanin, looks.haemoglobin)
    neck_rgb = skin * (np.clip(normal @ light.direction, 0, 1)[..., None] * light.key + 0.8 * light.fill)
    neck_rgb = neck_rgb * under_chin[..., None]
    colour = np.exp(rng.normal(-1.7, 0.9)) * np.exp(rng.normal(0, 0.45, 3))
    folds = (
        1
        + clothes.folds * smooth_noise(rng, height, width, cells=7)
        + 0.05 * smooth_noise(rng, height, width, cells=60)
    )
    if rng.random() < clothes.striped:
        stripe = np.sin(2 * np.pi * float(rng.uniform(4, 14)) * (v if rng.random() < 0.5 else u) + 0.3 * folds)
        folds = folds * (1 + float(rng.uniform(0.1, 0.5)) * np.clip(3 * stripe, -1, 1))
    lean = np.clip(0.55 + 0.35 * light.direction[0] * np.clip(u, -1.2, 1.2) - 0.25 * light.direction[1], 0.1, 1)
    cloth_rgb = np.clip(colour, 0.01, 0.8) * folds[..., None] * (lean[..., None] * light.key + 0.85 * light.fill)
    collar_shadow = 1 - 0.4 * np.exp(-(np.clip(v - neckline, 0, 9) / 0.03)) * cloth
    rgb = neck_rgb * (neck * (1 - cloth))[..., None] + cloth_rgb * (cloth * collar_shadow)[..., None]
    alpha = np.maximum(neck, cloth)
    layer: Floats = np.concatenate([rgb, alpha[..., None]], -1).astype(np.float32)
    return layer


def long_hair(
    rng: np.random.Generator, looks: Looks, light: Light, height: int, width: int, eyes: Floats, scale: float
) -> Floats:
    """Hair beside the neck, premultiplied RGBA float32 (height, width, 4); arguments as for shoulders."""
    u = ((np.arange(width, dtype=np.float32) - eyes[0]) / scale)[None, :]
    v = ((np.arange(height, dtype=np.float32) - eyes[1]) / scale)[:, None]
    strands = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 0.8, sigmaY=30)
    locks = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 5, sigmaY=60)
    tone = np.exp(0.3 * strands / strands.std() + 0.25 * locks / locks.std())
    wave = 0.03 * np.sin(v * float(rng.uniform(3, 9)) + rng.uniform(0, 6)) + 0.03 * locks / locks.std()
    end = float(rng.uniform(0.7, 1.7))
    half = 0.57 + float(rng.uniform(0.0, 0.10)) * np.clip(v + 0.4, 0, 1) + wave
    half = half * np.sqrt(np.clip((v + 0.95) / 0.6, 0, 1))
    hole = 0.34 + wave
    inside = np.clip((half - np.abs(u)) * scale * 0.3, 0, 1) * np.clip((end + 4 * wave - v) * scale * 0.15, 0, 1)
    open_neck = np.clip((hole - np.abs(u)) * scale * 0.3, 0, 1) * np.clip((v - 0.35) * scale * 0.2, 0, 1)
    alpha = inside * (1 - open_neck)
    side = 0.6 + 0.4 * np.clip(light.direction[0] * u * 1.5, -1, 1)
    rgb = looks.hair_colour * tone[..., None] * (side[..., None] * light.key + 0.7 * light.fill)
    layer: Floats = np.concatenate([rgb * alpha[..., None], alpha[..., None]], -1).astype(np.float32)
    return layer


def over(picture: Floats, layer: Floats, move: Floats) -> None:
    """Draws a premultiplied layer, moved by an affine map float32 (2, 3), over a picture, in place."""
    height, width = picture.shape[:2]
    first = _first_row(layer)
    top = int(np.clip(move[1, 1] * first + move[1, 2] - 4, 0, height - 1))
    down = move.copy()
    down[1, 2] -= top
    # The layer ends at the picture's lower edge; its last row is repeated, so that a rising body leaves no gap.
    size = (width, height - top)
    moved = cv2.warpAffine(layer, down, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    part = picture[top:]
    part *= 1 - moved[..., 3:]
    part += moved[..., :3]


def _first_row(layer: Floats) -> int:
    """The uppermost row that is not empty, by every eighth column, because layers are large."""
    filled = np.flatnonzero(layer[:, ::8, 3].any(1))
    return int(filled[0]) if len(filled) else layer.shape[0]
