# SPDX-License-Identifier: Apache-2.0
"""The shape of a head: a grid over directions from the head's middle, fitted to the 468 points of the face mesh.

The points are the mean face of the labels (Kartynnik et al. 2019). Between them the radius is a thin-plate spline, and
beyond them an ellipsoid skull. People differ by smooth displacement fields, as in morphable models (Blanz and Vetter
1999), with hand-made instead of learned axes.

Units: widths of the face (ear to ear). Axes: x to the subject's left (right in the picture), y down, z away from the
camera; the nose tip has z = 0, the eyes y = 0.
"""

import functools
from dataclasses import dataclass

import numpy as np

from eulernet.labels.mesh import LEFT_EAR, NOSE_TIP, RIGHT_EAR, face_mesh
from eulernet.simulation.randomness import Floats

MIDDLE = np.array([0.0, 0.2, 0.70], np.float32)
# The grid: azimuth and elevation (down positive) in degrees.
AZIMUTH_DEG, ELEVATION_DEG, STEP_DEG = 125.0, (-88.0, 72.0), 2.5
COLUMNS = round(2 * AZIMUTH_DEG / STEP_DEG) + 1
ROWS = round((ELEVATION_DEG[1] - ELEVATION_DEG[0]) / STEP_DEG) + 1
TEXELS_PER_DEG = 4.0
_DEPTH = 0.745  # from the nose tip to the ears, widths of the face
_UPPER_LIP, _LOWER_LIP = (13, 312, 311, 310, 415, 308), (14, 317, 402, 318, 324, 308)  # inner rims, middle to corner
TEXTURE_WIDTH, TEXTURE_HEIGHT = round(2 * AZIMUTH_DEG * TEXELS_PER_DEG), round((ROWS - 1) * STEP_DEG * TEXELS_PER_DEG)


@functools.cache
def face_points() -> Floats:
    """The neutral face, float32 (468, 3): the labels' mean face, without its slight smile, with a closed mouth."""
    mean = face_mesh().points
    points = mean / (mean[LEFT_EAR, 0] - mean[RIGHT_EAR, 0])
    points[:, 1] -= points[[33, 263], 1].mean()
    points[:, 2] = _DEPTH * (mean[NOSE_TIP, 2] - mean[:, 2])
    x, y = np.abs(points[:, 0]), points[:, 1]
    upper, lower = points[list(_UPPER_LIP)], points[list(_LOWER_LIP)]
    line = np.interp(x, upper[:, 0], (upper[:, 1] + lower[:, 1]) / 2)
    gap = np.interp(x, upper[:, 0], lower[:, 1] - upper[:, 1], right=0.0)
    below = np.clip((y - line) / 0.004, 0, 1)
    jaw = np.clip((y - 0.48) / 0.2, 0, 1) * np.clip(1 - (x / 0.55) ** 2, 0, 1) * gap.max() * 0.6
    points[:, 1] -= np.maximum(below * gap * 0.97, jaw)
    narrow = np.exp(-np.square(np.maximum(x - 0.2, 0) / 0.16) - np.square((y - line[0]) / 0.16))
    points[:, 0] *= 1 - 0.16 * narrow
    return np.asarray(points, np.float32)


def directions_deg(points: Floats) -> Floats:
    """Azimuth and elevation in degrees, float32 (..., 2), of points float32 (..., 3)."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    azimuth = np.arctan2(x, -z)
    elevation = np.arctan2(y, np.hypot(x, z))
    return np.asarray(np.rad2deg(np.stack([azimuth, elevation], -1)), np.float32)


def texel(directions: Floats) -> Floats:
    """Texture coordinates (x, y) in texels, float32 (..., 2), of directions in degrees."""
    return (directions - np.array([-AZIMUTH_DEG, ELEVATION_DEG[0]], np.float32)) * np.float32(TEXELS_PER_DEG)


@functools.cache
def face_texels() -> Floats:
    """Positions of the 468 points in the texture: float32 (468, 2)."""
    return texel(directions_deg(face_points()))


@functools.cache
def grid_directions() -> Floats:
    """Azimuth and elevation of the grid's vertices, degrees: float32 (ROWS, COLUMNS, 2)."""
    azimuth = np.linspace(-AZIMUTH_DEG, AZIMUTH_DEG, COLUMNS, dtype=np.float32)
    elevation = ELEVATION_DEG[0] + STEP_DEG * np.arange(ROWS, dtype=np.float32)
    return np.stack(np.broadcast_arrays(azimuth[None, :], elevation[:, None]), -1)


def _rays(directions: Floats) -> Floats:
    azimuth, elevation = np.moveaxis(np.deg2rad(directions), -1, 0)
    x, y, z = np.sin(azimuth) * np.cos(elevation), np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)
    return np.asarray(np.stack([x, y, z], -1), np.float32)


def _skull_radius(rays: Floats) -> Floats:
    """Distance from MIDDLE to the skull's ellipsoid, bounded below by the underside of the jaw."""
    centre, axes = np.array([0, -0.03, 0.72], np.float32), np.array([0.535, 0.80, 0.56], np.float32)
    start, along = (MIDDLE - centre) / axes, rays / axes
    a, b, c = (along**2).sum(-1), (along * start).sum(-1), (start**2).sum() - 1
    radius = (-b + np.sqrt(b * b - a * c)) / a
    underside = np.where(rays[..., 1] > 0.05, 0.47 / np.maximum(rays[..., 1] + 0.10 * rays[..., 2], 0.05), 9)
    return np.asarray(np.minimum(radius, underside), np.float32)


@functools.cache
def mean_head() -> Floats:
    """The mean head's grid, float32 (ROWS, COLUMNS, 3)."""
    from scipy.interpolate import RBFInterpolator

    points = face_points()
    known = directions_deg(points)
    radius = np.linalg.norm(points - MIDDLE, axis=1)
    grid = grid_directions()
    skull = _skull_radius(_rays(grid))
    # The skull is used far from the face's points.
    distance = np.sqrt(((grid[::2, ::2, None] - known) ** 2).sum(-1).min(-1))
    far = distance > 17
    where = np.concatenate([known, grid[::2, ::2][far]])
    values = np.concatenate([radius, skull[::2, ::2][far]])
    spline = RBFInterpolator(where, values, neighbors=40, smoothing=2e-4, kernel="thin_plate_spline")
    smooth = spline(grid.reshape(-1, 2)).reshape(ROWS, COLUMNS).astype(np.float32)
    return np.asarray(MIDDLE + smooth[..., None] * _rays(grid), np.float32)


@dataclass(frozen=True)
class Bump:
    """A Gaussian around a point: centre and spread, widths of the face."""

    centre: tuple[float, float, float]
    spread: tuple[float, float, float]

    def __call__(self, points: Floats, mirrored: bool = False) -> Floats:
        x = np.abs(points[..., 0]) if mirrored else points[..., 0]
        offset = np.stack([x, points[..., 1], points[..., 2]], -1) - np.array(self.centre, np.float32)
        return np.asarray(np.exp(-0.5 * ((offset / np.array(self.spread, np.float32)) ** 2).sum(-1)), np.float32)


_NOSE = Bump((0, 0.18, 0.05), (0.12, 0.13, 0.16))
_BRIDGE = Bump((0, 0.02, 0.18), (0.08, 0.10, 0.14))
_CHIN = Bump((0, 0.70, 0.24), (0.16, 0.12, 0.2))
_JAW = Bump((0.42, 0.55, 0.5), (0.18, 0.2, 0.3))
_CHEEK = Bump((0.36, 0.22, 0.34), (0.14, 0.12, 0.2))
_HOLLOW = Bump((0.34, 0.42, 0.36), (0.12, 0.12, 0.2))
_BROW = Bump((0.22, -0.13, 0.24), (0.16, 0.06, 0.15))
_EYE = Bump((0.235, 0.0, 0.31), (0.12, 0.09, 0.15))
_MOUTH = Bump((0, 0.43, 0.16), (0.22, 0.10, 0.2))
_FOREHEAD = Bump((0, -0.35, 0.3), (0.5, 0.2, 0.3))
_EAR_DEG, _EAR_SPREAD_DEG = (98.0, -8.0), (7.0, 15.0)


def vary(rng: np.random.Generator) -> Floats:
    """A person's head: the mean head displaced by about twenty fields; float32 (ROWS, COLUMNS, 3)."""
    head = mean_head().copy()
    mean = mean_head()
    x, y, z = head[..., 0], head[..., 1], head[..., 2]
    draw = functools.partial(rng.normal, 0.0)
    side = np.sign(mean[..., 0])

    nose = _NOSE(mean)
    z -= nose * draw(0.045) + _BRIDGE(mean) * draw(0.025)
    y += nose * draw(0.025)
    x += mean[..., 0] * nose * draw(0.20)
    z -= _CHIN(mean) * draw(0.035)
    y += _CHIN(mean) * draw(0.045)
    x += side * _JAW(mean, mirrored=True) * draw(0.035)
    cheek, hollow = _CHEEK(mean, mirrored=True), _HOLLOW(mean, mirrored=True)
    x += side * (cheek * draw(0.018) + hollow * draw(0.022))
    z -= cheek * draw(0.02) + hollow * draw(0.015) + _BROW(mean, mirrored=True) * draw(0.018)
    eye, eye_size = _EYE(mean, mirrored=True), draw(0.09)
    x += side * eye * (draw(0.012) + (np.abs(mean[..., 0]) - 0.235) * eye_size)
    y += eye * mean[..., 1] * eye_size
    z += eye * draw(0.015)
    mouth = _MOUTH(mean)
    x += mean[..., 0] * mouth * draw(0.12)
    y += mouth * draw(0.016)
    z -= _FOREHEAD(mean) * draw(0.025)
    x *= 1 + draw(0.035)
    y *= 1 + np.where(y > 0, draw(0.05), draw(0.04))
    _smooth_differences(rng, mean, head)
    _ears(rng, head)
    return head


def _smooth_differences(rng: np.random.Generator, mean: Floats, head: Floats) -> None:
    """Adds small asymmetric bumps at random points of the face."""
    for centre in face_points()[rng.choice(468, 14, replace=False)]:
        bump = Bump((float(centre[0]), float(centre[1]), float(centre[2])), (0.11, 0.11, 0.2))(mean)
        head += bump[..., None] * rng.normal(0, 0.007, 3).astype(np.float32)


def ear_mask(directions: Floats) -> Floats:
    """1 on the ears, decreasing to 0 around them; float32, of directions in degrees (..., 2)."""
    azimuth, elevation = np.abs(directions[..., 0]), directions[..., 1]
    azimuth = azimuth - 0.12 * (elevation - _EAR_DEG[1])
    radius = np.hypot((azimuth - _EAR_DEG[0]) / _EAR_SPREAD_DEG[0], (elevation - _EAR_DEG[1]) / _EAR_SPREAD_DEG[1])
    return np.asarray(np.clip(1.6 - 1.2 * radius, 0, 1), np.float32)


def _ears(rng: np.random.Generator, head: Floats) -> None:
    shape = ear_mask(grid_directions())
    size = 0.085 * (1 + rng.normal(0, 0.15))
    out = np.sign(grid_directions()[..., 0]) * shape * size
    head[..., 0] += out
    head[..., 2] += 0.3 * shape * size


def normals(head: Floats) -> Floats:
    """Outward unit normals of a grid, float32 (ROWS, COLUMNS, 3)."""
    along_rows, along_columns = np.gradient(head, axis=(0, 1))
    normal = np.cross(along_rows, along_columns)
    length = np.sqrt(np.einsum("...k,...k->...", normal, normal))[..., None]
    return np.asarray(normal / np.maximum(length, 1e-9), np.float32)


def on_head(head: Floats, directions: Floats) -> Floats:
    """Points of a head, float32 (n, 3), in given directions (n, 2) degrees: bilinear in the grid."""
    column = np.clip((directions[:, 0] + AZIMUTH_DEG) / STEP_DEG, 0, COLUMNS - 1.001)
    row = np.clip((directions[:, 1] - ELEVATION_DEG[0]) / STEP_DEG, 0, ROWS - 1.001)
    c, r = column.astype(int), row.astype(int)
    u, v = (column - c)[:, None], (row - r)[:, None]
    top = head[r, c] * (1 - u) + head[r, c + 1] * u
    bottom = head[r + 1, c] * (1 - u) + head[r + 1, c + 1] * u
    return np.asarray(top * (1 - v) + bottom * v, np.float32)
