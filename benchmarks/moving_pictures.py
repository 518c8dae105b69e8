# SPDX-License-Identifier: Apache-2.0
"""Synthetic traffic of any frame size: JPEGs of a photographed face that drifts and fills the same share of each."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.jpeg import encode_jpeg
from eulernet_loadtest.traffic import Source, Traffic

QUALITY = 90
GRAIN = 2.0  # grey levels of sensor noise; without it an enlarged photograph makes unrealistically small JPEGs
FACE_X_PX, FACE_Y_PX = 222.0, 125.0  # centre of the face in scikit-image's astronaut photograph of 512x512
VIEW_PX = 400.0  # visible width of the photograph: the face fills a quarter of it
DRIFT = 0.004  # of the picture's width, for each frame


def traffic(width: int, height: int, frames: int = 8, seed: int = 1) -> Traffic:
    """One source of `frames` JPEGs, `width` x `height` px; the detector finds the face in each."""
    from skimage.data import astronaut

    photograph: NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    random = np.random.default_rng(seed)
    return Traffic(
        (Source(f"{width}x{height}", tuple(_jpeg(photograph, width, height, t, random) for t in range(frames))),)
    )


def with_grain(picture: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    """Adds sensor noise to a picture (H, W, 3) of grey levels 0 to 255, the same in all channels."""
    height, width = picture.shape[:2]
    noisy = picture + GRAIN * random.standard_normal((height, width, 1), np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _jpeg(photograph: NDArray[np.uint8], width: int, height: int, number: int, random: np.random.Generator) -> bytes:
    """Frame `number`. `photograph`: uint8 (512, 512, 3), RGB."""
    scale = width / VIEW_PX
    top_px = max(0.0, FACE_Y_PX - height / scale / 2)
    move = np.array(
        [[scale, 0, width / 2 - scale * FACE_X_PX + DRIFT * width * number], [0, scale, -scale * top_px]], np.float32
    )
    picture = cv2.warpAffine(photograph, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return encode_jpeg(with_grain(picture.astype(np.float32), random), QUALITY)
