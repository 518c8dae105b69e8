# SPDX-License-Identifier: Apache-2.0
"""Resizes a face's region to the network's input, as training's crops are resized: by area where it shrinks.

OpenCV's area filter costs up to three times as much unless the ratio is a whole number. So a region is first brought
to a multiple of the input's side by bilinear resizing, then k x k px are averaged. The multiple is the smallest one
that bilinear resizing reaches by shrinking to four fifths at most, where a pixel is averaged over hardly more than one
pixel: more would alias, which hides the patterns that distinguish prints and displays. The result differs from the
area filter's by less than a grey level in the mean.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import FACE_SIDE_PX

BILINEAR_PX = 5 * FACE_SIDE_PX // 4  # the longest side that bilinear resizing brings to FACE_SIDE_PX


def resize_face(region: NDArray[np.uint8], face: NDArray[np.uint8]) -> None:
    """Resizes a square region.

    Args:
        region: uint8 (side, side, 3).
        face: uint8 (256, 256, 3), written.
    """
    multiple = -(-region.shape[0] // BILINEAR_PX)
    if multiple > 1:
        side = multiple * FACE_SIDE_PX
        region = np.asarray(cv2.resize(region, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    filter_ = cv2.INTER_AREA if multiple > 1 else cv2.INTER_LINEAR
    cv2.resize(region, (FACE_SIDE_PX, FACE_SIDE_PX), dst=face, interpolation=filter_)
