# SPDX-License-Identifier: Apache-2.0
"""A sheet (print or display) in front of a pinhole camera: a plane, or a bent sheet, a cylinder with a vertical axis.

Coordinates on the sheet: u right and v down from its middle, in widths of the sheet. Axes as in `head`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eulernet.simulation.opencv import cv2
from eulernet.simulation.randomness import Floats
from eulernet.simulation.scene import FOCAL_WIDTHS, View

_BLOCK_PX = 8
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class SheetPose:
    """A bent sheet, rotated by (pitch, yaw, roll) rad about its middle at `position` (widths of the sheet)."""

    turn: tuple[float, float, float]
    position: tuple[float, float, float]
    curvature: float = 0.0  # radians per width of the sheet; positive: the edges bend away from the camera

    def rotation(self) -> Floats:
        """float32 (3, 3), from the sheet's axes to the camera's."""
        pitch, yaw, roll = self.turn
        turns = (cv2.Rodrigues(np.array(axis) * angle)[0] for axis, angle in _axes(pitch, yaw, roll))
        first, second, third = turns
        return np.asarray(first @ second @ third, np.float32)


def _axes(pitch: float, yaw: float, roll: float) -> tuple[tuple[list[float], float], ...]:
    return (([1.0, 0, 0], pitch), ([0, 1.0, 0], yaw), ([0, 0, 1.0], roll))


def project(pose: SheetPose, on_sheet: Floats, height: int, width: int) -> Floats:
    """Pixels, float32 (n, 2), of points (n, 2) on the sheet."""
    u, v = on_sheet[:, 0], on_sheet[:, 1]
    bend = pose.curvature
    x, z = (np.sin(bend * u) / bend, (1 - np.cos(bend * u)) / bend) if bend else (u, np.zeros_like(u))
    points = np.stack([x, v, z], 1) @ pose.rotation().T + np.array(pose.position)
    focal = FOCAL_WIDTHS * width
    return np.asarray(points[:, :2] / points[:, 2:] * focal + [width / 2, height / 2], np.float32)


def unproject(pose: SheetPose, height: int, width: int) -> tuple[Floats, Floats]:
    """Intersection of each pixel's ray with the sheet: (u, v), float32 (height, width) each.

    With o and d the ray's origin and direction in the sheet's axes and c the curvature, the sheet is the cylinder
    c/2 (x^2 + z^2) = z through the origin. This form of the root is stable for small c.
    """
    focal = FOCAL_WIDTHS * width
    rotation = pose.rotation()
    # Computed at blocks' centres, because it is smooth; with a margin of one block, because resizing repeats borders.
    columns, rows = -(-width // _BLOCK_PX), -(-height // _BLOCK_PX)
    ray_x = (((np.arange(-1, columns + 1) + 0.5) * _BLOCK_PX - width / 2) / focal).astype(np.float32)[None, :]
    ray_y = (((np.arange(-1, rows + 1) + 0.5) * _BLOCK_PX - height / 2) / focal).astype(np.float32)[:, None]
    dx, dy, dz = (ray_x * r[0] + ray_y * r[1] + r[2] for r in rotation.T)
    ox, oy, oz = (float(value) for value in -np.array(pose.position, np.float32) @ rotation)
    bend = np.float32(pose.curvature)
    if bend == 0:
        distance = -oz / dz
        return _enlarge(ox + distance * dx, height, width), _enlarge(oy + distance * dy, height, width)
    a = bend / 2 * (dx * dx + dz * dz)
    b = bend * (ox * dx + oz * dz) - dz
    c = bend / 2 * (ox * ox + oz * oz) - oz
    root = b * b - 4 * a * c
    distance = 2 * c / (np.sqrt(np.maximum(root, 0)) - b)
    x, z = ox + distance * dx, oz + distance * dz
    u = np.arctan2(bend * x, 1 - bend * z) / bend
    # Rays that miss the cylinder get a point far outside the sheet.
    u = np.where(root < 0, np.float32(1e3), u)
    return _enlarge(u, height, width), _enlarge(oy + distance * dy, height, width)


def _enlarge(blocks: Floats, height: int, width: int) -> Floats:
    rows, columns = blocks.shape
    pixels = cv2.resize(blocks.astype(np.float32), (columns * _BLOCK_PX, rows * _BLOCK_PX))
    return np.asarray(pixels[_BLOCK_PX : _BLOCK_PX + height, _BLOCK_PX : _BLOCK_PX + width], np.float32)


def aim(
    turn: tuple[float, float, float],
    curvature: float,
    eyes_uv: Floats,
    eyes_px: tuple[float, float],
    scale_px: float,
    height: int,
    width: int,
) -> SheetPose:
    """The pose that projects a point of the sheet to a pixel and makes the sheet `scale_px` wide at its depth."""
    focal = FOCAL_WIDTHS * width
    depth = focal / scale_px
    at_middle = SheetPose(turn, (0.0, 0.0, 0.0), curvature)
    bend, u, v = curvature, float(eyes_uv[0]), float(eyes_uv[1])
    x, z = (np.sin(bend * u) / bend, (1 - np.cos(bend * u)) / bend) if bend else (u, 0.0)
    point = at_middle.rotation() @ np.array([x, v, z])
    target = np.array([(eyes_px[0] - width / 2) / focal * depth, (eyes_px[1] - height / 2) / focal * depth, depth])
    position = target - point
    return SheetPose(turn, (float(position[0]), float(position[1]), float(position[2])), curvature)


def hold(view: View, source: View, turn: Doubles, moved: Doubles, curvature: float) -> SheetPose:
    """The pose of a hand-held sheet with a picture of view `source`, such that the face appears as in `view`.

    Args:
        turn: float64 (3,), pitch, yaw and roll in rad.
        moved: float64 (3,), motion of the hand: x and y in widths of the face, and relative change of the distance.
        curvature: of the sheet.
    """
    scale = view.face_px / source.face_px * source.width / (1 + float(moved[2]))
    eyes_px = np.array(view.eyes_at) * [view.width, view.height] + moved[:2] * view.face_px
    eyes_uv = np.array([source.eyes_at[0] - 0.5, (source.eyes_at[1] - 0.5) * source.height / source.width])
    angles = (float(turn[0]), float(turn[1]), float(turn[2]))
    target = (float(eyes_px[0]), float(eyes_px[1]))
    return aim(angles, curvature, eyes_uv, target, float(scale), view.height, view.width)


def on_sheet(source: View, pixels: Floats) -> Floats:
    """Coordinates on the sheet, float32 (n, 2), of pixels (n, 2) of its picture."""
    return np.asarray((pixels - [source.width / 2, source.height / 2]) / source.width, np.float32)
