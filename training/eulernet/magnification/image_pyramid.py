# SPDX-License-Identifier: Apache-2.0
"""Laplacian pyramid (Burt and Adelson 1983) with their 5-tap kernel, by OpenCV's pyrDown and pyrUp."""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_KERNEL = 5


def depth(height: int, width: int) -> int:
    """Halvings until a side is shorter than the kernel, at least one."""
    return max(1, int(np.log2(max(min(height, width) / _KERNEL, 1))))


def wavelength_px(level: int) -> float:
    """Dominant wavelength of level 0, 1, … of a Laplacian pyramid, in px of the picture."""
    return float(4 * 2**level)


def reduce(picture: Floats) -> Floats:
    """float32 (H, W, C) to (ceil(H / 2), ceil(W / 2), C)."""
    return np.asarray(cv2.pyrDown(picture), np.float32).reshape((picture.shape[0] + 1) // 2, -1, picture.shape[2])


def expand(picture: Floats, like: Floats) -> Floats:
    """float32 (h, w, C) to the size of `like`, float32 (H, W, C), the picture before `reduce`."""
    return np.asarray(cv2.pyrUp(picture, dstsize=(like.shape[1], like.shape[0])), np.float32).reshape(like.shape)


def laplacian(picture: Floats, levels: int) -> tuple[list[Floats], Floats]:
    """The residuals of `levels` reductions, fine to coarse, and the last reduction."""
    lost = []
    for _ in range(levels):
        smaller = reduce(picture)
        lost.append(picture - expand(smaller, picture))
        picture = smaller
    return lost, picture


def collapse(lost: list[Floats], rest: Floats) -> Floats:
    """The inverse of `laplacian`."""
    for level in reversed(lost):
        rest = expand(rest, level) + level
    return rest
