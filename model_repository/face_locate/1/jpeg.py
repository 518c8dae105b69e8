"""What can be told of a JPEG (ITU-T T.81) without decoding it in full: is it one, is it whole, how large is it."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

# STATUS flags of a frame, as in the client: below NO_FACE a frame is scored, from there on it is not.
OK = 0
SEVERAL_FACES = 1
RELOCATED = 2
NO_FACE = 4
UNDECODABLE = 8
TOO_LARGE = 16

SIGNATURE = b"\xff\xd8\xff"
START_OF_SCAN = b"\xff\xda"
END_OF_IMAGE = b"\xff\xd9"
EXIF_SIGNATURE = b"Exif\x00\x00"
EXIF_ORIENTATION = 0x0112
EXIF_SEARCH_BYTES = 65536
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height

# Reduction factors that libjpeg decodes at directly from the DCT coefficients, with OpenCV's names for them.
REDUCTIONS = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


@dataclass(frozen=True)
class Header:
    """`status`: OK, UNDECODABLE or TOO_LARGE; `width`, `height`: of the upright picture in px, 0 unless OK."""

    status: int
    width: int = 0
    height: int = 0


def tiny() -> NDArray[np.uint8]:
    """A small valid JPEG that stands in for a frame which is not scored. Returns uint8 (bytes,)."""
    return np.frombuffer(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)), np.uint8)


def inspect(encoded: NDArray[np.uint8], max_pixels: int) -> Header:
    """Checks signature, header, size and end marker. An end marker counts only after the last start of a scan, since
    the thumbnail inside an EXIF header has one of its own. Damage inside a scan is not seen here.

    Args:
        encoded: uint8 (bytes,), one JPEG.
        max_pixels: the largest height x width that is decoded.
    """
    data = encoded.tobytes()
    if not data.startswith(SIGNATURE):
        return Header(UNDECODABLE)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        # libjpeg refuses sides over 65,500 px as it does garbage; only the frame header tells the two apart.
        return Header(TOO_LARGE if _claimed_pixels(data) > max_pixels else UNDECODABLE)
    if height * width > max_pixels:
        return Header(TOO_LARGE)
    if not 0 <= data.rfind(START_OF_SCAN) < data.rfind(END_OF_IMAGE):
        return Header(UNDECODABLE)
    return Header(OK, height, width) if _orientation(data) in SIDEWAYS else Header(OK, width, height)


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
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
