# SPDX-License-Identifier: Apache-2.0
"""Decodes the face's region of a JPEG on a CPU, at 1/2 or 1/4 of its size where that has enough pixels.

libjpeg-turbo decodes the whole picture: the entropy coding must be read to the region's end anyway, and at a reduced
size most of the rest is left out, by an inverse DCT of the lower frequencies alone. In pictures of 1920x1080 every face
that is large enough to be found is reduced. At full size the pixels are DALI's.
"""

from contextlib import suppress

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from eulernet_core.face_box import reduction
from eulernet_core.jpeg_segments import SIDEWAYS, Segments, walk

_CMYK = 4  # components
_FROM_THE_RIGHT, _FROM_THE_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # orientations whose upright columns, rows are reversed
_OPENCV_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_COLOR_4,
}


class DecodingError(Exception):
    """The picture can't be decoded, or the box does not lie in it."""


def decode_region(encoded: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Decodes a region, at a size reduced as `face_box.reduction` says of its shorter side.

    Args:
        encoded: uint8 (bytes,), one JPEG.
        box: float32 (4,), x0, y0, x1, y1 px inside the upright picture; fractions are cut off.
    Returns: uint8 (H, W, 3), RGB, upright (EXIF); a view of the whole picture.
    Raises: DecodingError; BrokenJpegError where the structure is damaged.
    """
    found = walk(encoded, whole=False)
    x0, y0, x1, y1 = box.astype(np.int64).tolist()
    width, height = found.width, found.height
    if found.orientation in SIDEWAYS:
        width, height = height, width
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise DecodingError(f"box {[x0, y0, x1, y1]}: not inside the picture of {width}x{height} px")
    by = reduction(min(x1 - x0, y1 - y0))
    picture = upright(_decode(encoded, found, by), found.orientation)
    # A square_box begins at a reduced pixel, unless the axis is turned and ends with a part of one.
    if found.orientation in _FROM_THE_RIGHT:
        x0, x1 = x0 + -width % by, x1 + -width % by
    if found.orientation in _FROM_THE_BOTTOM:
        y0, y1 = y0 + -height % by, y1 + -height % by
    left, top = (x0 + by // 2) // by, (y0 + by // 2) // by
    return picture[top : top + (y1 - y0) // by, left : left + (x1 - x0) // by]


def _decode(encoded: NDArray[np.uint8], found: Segments, by: int) -> NDArray[np.uint8]:
    """The stored picture, 1/by of its size, rounded up. Damaged parts are grey, as with other decoders."""
    if found.components != _CMYK:
        height, width = -(-found.height // by), -(-found.width // by)
        with suppress(ValueError):  # rare sampling factors, such as 4:1:0
            decoded: NDArray[np.uint8]
            decoded = simplejpeg.decode_jpeg(encoded, min_height=height, min_width=width, strict=False)
            return decoded
    picture = cv2.imdecode(encoded, _OPENCV_REDUCED[by] | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise DecodingError("the picture can't be decoded")
    return np.asarray(picture, np.uint8)


def upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turns a stored picture as its EXIF orientation says (CIPA DC-008, 4.6.4).

    Args:
        picture: uint8 (H, W, C).
        orientation: 1 to 8.
    Returns: a view, (W, H, C) for the orientations from 5 on.
    """
    if orientation in SIDEWAYS:
        picture = picture.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in _FROM_THE_BOTTOM else 1)
    columns = slice(None, None, -1 if orientation in _FROM_THE_RIGHT else 1)
    return picture[rows, columns]
