# SPDX-License-Identifier: Apache-2.0
"""JPEG (ITU-T T.81): structure that can be read without decoding the picture, and encoding.

Structure: is it a JPEG, is it whole, how large is it, which way up is it (EXIF).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import Image

from eulernet_core.limits import MAX_PIXELS
from eulernet_core.status import Status

if TYPE_CHECKING:
    import numpy.typing as npt

QUALITY = 95  # of the frames that the client sends

SIGNATURE = b"\xff\xd8\xff"
START_OF_SCAN = b"\xff\xda"
END_OF_IMAGE = b"\xff\xd9"
EXIF_SIGNATURE = b"Exif\x00\x00"
EXIF_ORIENTATION = 0x0112
EXIF_SEARCH_BYTES = 65536
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Header:
    """`status`: OK, UNDECODABLE or TOO_LARGE; `width`, `height`: of the upright picture in px, 0 unless OK."""

    status: Status
    width: int = 0
    height: int = 0


def encode_jpeg(picture: npt.NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """picture: uint8 (H, W, 3), RGB. Chroma subsampling 4:2:0."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return encoded


def inspect(encoded: npt.NDArray[np.uint8], max_pixels: int = MAX_PIXELS) -> Header:
    """Checks signature, header, size and end marker. An end marker counts only after the last start of a scan, since
    the thumbnail inside an EXIF header has an end marker too. Damage inside a scan is not seen here.

    Args:
        encoded: uint8 (bytes,), one JPEG.
        max_pixels: the largest height x width that is decoded.
    """
    data = encoded.tobytes()
    if not data.startswith(SIGNATURE):
        return Header(Status.UNDECODABLE)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        # libjpeg refuses sides over 65,500 px as it does garbage; only the frame header distinguishes the two.
        return Header(Status.TOO_LARGE if _claimed_pixels(data) > max_pixels else Status.UNDECODABLE)
    if height * width > max_pixels:
        return Header(Status.TOO_LARGE)
    if not 0 <= data.rfind(START_OF_SCAN) < data.rfind(END_OF_IMAGE):
        return Header(Status.UNDECODABLE)
    sideways = _orientation(data) in SIDEWAYS
    return Header(Status.OK, height, width) if sideways else Header(Status.OK, width, height)


def _claimed_pixels(data: bytes) -> int:
    """Walks the marker segments (T.81 B.1.1) to the frame header and reads the size there; 0 without one."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            return height * width
        at += 2 + length
    return 0


def _orientation(data: bytes) -> int:
    """EXIF orientation 1 to 8; 1 (upright) where there is none or it can't be read."""
    if data.find(EXIF_SIGNATURE, 0, EXIF_SEARCH_BYTES) < 0:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return int(picture.getexif().get(EXIF_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, Image.DecompressionBombError):
        return 1
