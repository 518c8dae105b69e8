# SPDX-License-Identifier: Apache-2.0
"""The light of a session: a key lamp or window, fill light, and shadows of nose, brow and hair.

Shading is Lambert's with a Blinn-Phong highlight for the skin's oil. Shadows are computed by marching from each vertex
towards the lamp and comparing with the head's radius (the head is a height field over directions).
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation import head
from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats

# Session 1 a window from one side, 2 an office's ceiling, 3 a warm lamp: azimuth, elevation (up positive) in degrees,
# colour temperature in kelvin, share of the fill.
_SESSIONS = {1: ((-48.0, 22.0), 5600.0, 0.42), 2: ((8.0, 55.0), 4300.0, 0.58), 3: ((42.0, 15.0), 3500.0, 0.34)}


@dataclass(frozen=True)
class Light:
    """Unit direction towards the key light (camera axes), colours in linear RGB, and flicker of the lamps."""

    direction: Floats
    key: Floats
    fill: Floats
    flicker: float  # amplitude of the lamp's ripple at the mains' frequency, 0 for daylight
    flicker_hz: float
    oil: float


def draw_light(rng: np.random.Generator, session: int) -> Light:
    """Draws a session's light for one video."""
    (azimuth, elevation), kelvin, fill = _SESSIONS[session]
    azimuth = np.deg2rad(azimuth * float(rng.choice([-1, 1], p=[0.25, 0.75])) + rng.normal(0, 14))
    elevation = np.deg2rad(np.clip(elevation + rng.normal(0, 9), -5, 75))
    direction = np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)], np.float32
    )
    share = float(np.clip(fill + rng.normal(0, 0.10), 0.18, 0.75))
    warm = temperature(kelvin * float(rng.uniform(0.85, 1.15)))
    around = temperature(kelvin * float(rng.uniform(0.95, 1.45)))
    daylight = session == 1 or rng.random() < 0.3
    return Light(
        direction=direction,
        key=warm * np.float32(1.25 * (1 - share)),
        fill=around * np.float32(share),
        flicker=0.0 if daylight else float(rng.uniform(0.005, 0.05)),
        flicker_hz=float(rng.choice([100.0, 120.0])),
        oil=float(rng.uniform(0.015, 0.07)),
    )


def temperature(kelvin: float) -> Floats:
    """Linear RGB of a black body, green = 1: a logarithmic fit around 6500 K, accurate to a few percent."""
    ratio = np.log(kelvin / 6500.0)
    return np.asarray(np.exp(np.array([-0.55, 0.0, 0.95]) * ratio), np.float32)


def ambient_occlusion(grid: Floats) -> Floats:
    """Factors around 1, float32 (ROWS, COLUMNS), lower in hollows, by the height of the surroundings."""
    radius = np.linalg.norm(grid - head.MIDDLE, axis=-1).astype(np.float32)
    hollow = cv2.GaussianBlur(radius, (0, 0), 3.0) - radius
    return np.asarray(np.clip(1 - 5.0 * hollow, 0.55, 1.12), np.float32)


def cast_shadow(grid: Floats, direction: Floats) -> Floats:
    """Share of the key light at each vertex, float32 (ROWS, COLUMNS), 0 to 1; direction in the head's axes."""
    radius = _length(grid - head.MIDDLE)
    rows, columns = grid.shape[:2]
    grid = grid[::2, ::2]  # every second vertex is enough for soft shadows
    blocked = np.zeros(grid.shape[:2], np.float32)
    for step in (0.05, 0.09, 0.14, 0.20, 0.28, 0.38):
        point = grid + np.float32(step) * direction
        directions = head.directions_deg(point)
        column = (directions[..., 0] + head.AZIMUTH_DEG) / head.STEP_DEG
        row = (directions[..., 1] - head.ELEVATION_DEG[0]) / head.STEP_DEG
        surface = cv2.remap(radius, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        depth = surface - _length(point - head.MIDDLE)
        blocked = np.maximum(blocked, np.clip((depth - 0.004) / (0.03 + 0.08 * step), 0, 1))
    row, column = np.arange(rows, dtype=np.float32) / 2, np.arange(columns, dtype=np.float32) / 2
    whole = cv2.remap(blocked, *np.meshgrid(column, row), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(1 - cv2.GaussianBlur(whole, (0, 0), 1.0), np.float32)


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("...k,...k->...", vectors, vectors)), np.float32)


def shade(normal: Floats, occlusion: Floats, lit: Floats, light: Light) -> tuple[Floats, Floats]:
    """Light on a surface.

    Args:
        normal: float32 (..., 3), camera axes.
        occlusion: float32 (...,), of the fill.
        lit: float32 (...,), of the key.
        light: of the session.

    Returns:
        float32 (..., 3), the factor of the albedo, and (...,), the added highlight.
    """
    # Light wraps slightly around skin by subsurface scattering, red most.
    cosine = normal @ light.direction
    wrap = np.array([0.22, 0.12, 0.09], np.float32)
    key = np.clip((cosine[..., None] + wrap) / (1 + wrap), 0, None) * lit[..., None]
    sky = 0.80 - 0.20 * normal[..., 1] - 0.15 * normal[..., 2]
    diffuse = key * light.key + (sky * occlusion)[..., None] * light.fill
    half = light.direction + np.array([0, 0, -1], np.float32)
    half = half / np.linalg.norm(half)
    highlight = np.clip(normal @ half, 0, 1) ** 18 * lit * (cosine > 0) * light.oil * 2.2
    return diffuse.astype(np.float32), highlight.astype(np.float32)
