# SPDX-License-Identifier: Apache-2.0
"""Decodes JPEGs at reduced size with OpenCV: thumbnails for the face detector, and a test that a picture decodes."""

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from eulernet_core.jpeg import Header

# Reduction factors at which libjpeg decodes directly from the DCT coefficients, with OpenCV's flags for them.
REDUCTIONS = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def tiny_jpeg() -> NDArray[np.uint8]:
    """A small valid JPEG that replaces a frame which is not scored. Returns uint8 (bytes,)."""
    return np.frombuffer(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)), np.uint8)


def decodes(encoded: NDArray[np.uint8]) -> bool:
    """Decodes the picture at an eighth of its size to see whether it can be: the price is the entropy decoding."""
    return cv2.imdecode(encoded, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None


def thumbnail(encoded: NDArray[np.uint8], header: Header, side_px: int) -> NDArray[np.uint8] | None:
    """Decodes at the smallest of 1/8, 1/4, 1/2 whose longer side still has `side_px`, turned upright (EXIF).

    Returns: uint8 (h, w, 3) RGB; None where the bytes can't be decoded.
    """
    longer = max(header.width, header.height)
    flag = next((flag for by, flag in REDUCTIONS if longer // by >= side_px), cv2.IMREAD_COLOR)
    picture = cv2.imdecode(encoded, flag)
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
