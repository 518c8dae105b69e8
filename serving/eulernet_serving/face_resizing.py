# SPDX-License-Identifier: Apache-2.0
"""Resizes a face's region to the network's input, as training's crops are resized: by area where it shrinks.

OpenCV's area filter costs several times its bilinear one unless the ratio is a whole number. Two cheaper ways differ
from it by less than a grey level in the mean:

- up to 5/4 of the input's side, bilinear resizing: a pixel is averaged over hardly more than one pixel anyway;
- up to twice the side, enlarging to exactly twice, which loses nothing, and averaging over 2x2 px.

Bilinear resizing alone would alias there, which hides the patterns that distinguish prints and displays. For larger
regions enlarging costs as much as it saves.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import FACE_SIDE_PX

BILINEAR_PX = 5 * FACE_SIDE_PX // 4
TWICE_PX = 2 * FACE_SIDE_PX


def resize_face(region: NDArray[np.uint8], face: NDArray[np.uint8]) -> None:
    """Resizes a square region.

    Args:
        region: uint8 (side, side, 3).
        face: uint8 (256, 256, 3), written.
    """
    side = region.shape[0]
    if BILINEAR_PX < side < TWICE_PX:
        region = np.asarray(cv2.resize(region, (TWICE_PX, TWICE_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    filter_ = cv2.INTER_AREA if side > BILINEAR_PX else cv2.INTER_LINEAR
    cv2.resize(region, (FACE_SIDE_PX, FACE_SIDE_PX), dst=face, interpolation=filter_)
