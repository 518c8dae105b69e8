# SPDX-License-Identifier: Apache-2.0
"""From a picture to the square that the face detector sees, and from its answer to the crop that EulerNet sees.

Pixel coordinates are continuous: a picture spans (0, 0) to (width, height). Training and service use these
functions, so that a network is trained on the crops that it will be served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from eulernet_core.tensors import FACE_SIDE_PX

DETECTOR_SIDE_PX = 128  # BlazeFace, short range
MIN_SCORE = 0.5  # BlazeFace's own threshold
BOX_SCALE = 2.4  # detected box (brow to chin) to the square that the network sees, hair to shoulders
# From which side of a square on a decoder reduces it, and by how much. Its filter is sharper than a mean, so by 4 it
# leaves twice as many pixels as the network sees.
REDUCTIONS = ((8 * FACE_SIDE_PX, 4), (2 * FACE_SIDE_PX, 2))
BOX_SCALE_PARAMETER = "box_scale"  # in the metadata of graphs
UNSTATED_BOX_SCALE = 1.6  # of weights and graphs that do not state theirs

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Resize = Callable[[Picture, tuple[int, int]], Picture]  # to (width, height) px, by area where it shrinks


def letterbox(picture: Picture, resize: Resize, side_px: int = DETECTOR_SIDE_PX) -> tuple[Picture, Floats]:
    """Fits a whole picture uint8 (H, W, 3) into a square, black around it.

    Returns: uint8 (side_px, side_px, 3), and float32 (4,): the square's x0, y0, x1, y1 in shares of the picture.
    """
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side_px - w) // 2, (side_px - h) // 2
    square = np.zeros((side_px, side_px, 3), np.uint8)
    square[top : top + h, left : left + w] = resize(picture, (w, h))
    x0, y0 = -left / w, -top / h
    return square, np.array([x0, y0, x0 + side_px / w, y0 + side_px / h], np.float32)


def unletterbox(points: Floats, square: Floats) -> Floats:
    """Takes float32 (..., 2), x and y, from shares of the detector's square to shares of the picture."""
    return np.asarray(square[:2] + points * (square[2:] - square[:2]), np.float32)


def unletterbox_box(box: Floats, square: Floats) -> Floats:
    """Takes a box float32 (4,), x0, y0, x1, y1, from shares of the detector's square to shares of the picture."""
    return unletterbox(box.reshape(2, 2), square).reshape(4)


def square_box(box: Floats, width_px: int, height_px: int, scale: float = BOX_SCALE) -> Floats:
    """The square of whole pixels around a detected box, moved (and only then shrunk) to lie inside the picture.

    A large square has corners at multiples of its `reduction`, so that a decoder that reduces cuts the same square.

    Args:
        box: float32 (4,), x0, y0, x1, y1 in shares of the picture.
        width_px, height_px: the picture's size.
        scale: side of the result to the box's longer side.
    Returns: float32 (4,), px.
    """
    x0, y0, x1, y1 = box * np.array([width_px, height_px, width_px, height_px], np.float32)
    side = int(min(max(round(max(x1 - x0, y1 - y0) * scale), 2), width_px, height_px))
    left = int(np.clip(round((x0 + x1 - side) / 2), 0, width_px - side))
    top = int(np.clip(round((y0 + y1 - side) / 2), 0, height_px - side))
    by = reduction(side)
    left, top, side = (each - each % by for each in (left, top, side))
    return np.array([left, top, left + side, top + side], np.float32)


def reduction(side_px: int) -> int:
    """By how much a square is reduced when it is decoded: 1, 2 or 4."""
    return next((by for least_px, by in REDUCTIONS if side_px >= least_px), 1)


def other_crops(scale: float) -> str:
    """Why weights that learned from crops of this scale can't be served."""
    return f"learned from crops of {scale:g} times the detected box, the service cuts {BOX_SCALE:g} times; train again"


def crop_fault(properties: Mapping[str, str]) -> str:
    """Why a graph with these properties can't be served, "" where its crops are the service's."""
    scale = float(properties.get(BOX_SCALE_PARAMETER, UNSTATED_BOX_SCALE))
    return "" if scale == BOX_SCALE else other_crops(scale)


def iou(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(sides, 0)))
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return inter / (areas - inter) if areas > inter else 0.0
