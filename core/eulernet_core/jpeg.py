# SPDX-License-Identifier: Apache-2.0
"""JPEG (ITU-T T.81): encoding, and what a service checks before it decodes: structure, size, limits, orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from eulernet_core import limits
from eulernet_core.jpeg_segments import SIDEWAYS, START_OF_IMAGE, UPRIGHT, BrokenJpegError, Segments, exif_segment, walk
from eulernet_core.status import Status

if TYPE_CHECKING:
    import numpy.typing as npt

QUALITY = 95  # of the frames that the client sends


@dataclass(frozen=True)
class JpegLimits:
    """What is decoded. A frame over a limit is answered with TOO_LARGE before anything is decoded.

    Attributes:
        max_encoded_bytes: of one frame's JPEG.
        max_pixels: height x width.
        max_progressive_pixels: height x width of a picture with several scans.
        max_scans: scans of one picture.
    """

    max_encoded_bytes: int = limits.MAX_ENCODED_BYTES
    max_pixels: int = limits.MAX_PIXELS
    max_progressive_pixels: int = limits.MAX_PROGRESSIVE_PIXELS
    max_scans: int = limits.MAX_SCANS


@dataclass(frozen=True)
class Header:
    """`status`: OK, UNDECODABLE or TOO_LARGE; `width`, `height`: of the upright picture in px, 0 unless OK;
    `orientation`: EXIF, of the stored picture."""

    status: Status
    width: int = 0
    height: int = 0
    orientation: int = UPRIGHT


def encode_jpeg(picture: npt.NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """picture: uint8 (H, W, 3), RGB. Chroma subsampling 4:2:0."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return encoded


def inspect(encoded: npt.NDArray[np.uint8], allowed: JpegLimits | None = None) -> tuple[Header, npt.NDArray[np.uint8]]:
    """Checks structure, size and limits without decoding. Damage inside a scan is not seen here.

    Args:
        encoded: uint8 (bytes,), one JPEG; bytes behind its end marker are ignored.
        allowed: the limits.
    Returns: the header, and the JPEG that decoders get: without metadata and without bytes behind the end, and with the
        orientation in one EXIF segment of the plainest form, so that every decoder reads the same orientation. It is
        `encoded` itself where nothing changes, and empty unless the status is OK.
    """
    allowed = allowed or JpegLimits()
    nothing = np.zeros(0, np.uint8)
    if len(encoded) > allowed.max_encoded_bytes:
        return Header(Status.TOO_LARGE), nothing
    try:
        found = walk(encoded)
    except BrokenJpegError:
        return Header(Status.UNDECODABLE), nothing
    if not _within(found, allowed):
        return Header(Status.TOO_LARGE), nothing
    width, height = found.width, found.height
    if found.orientation in SIDEWAYS:
        width, height = height, width
    return Header(Status.OK, width, height, found.orientation), _plain(encoded, found)


def cheap_to_decode(encoded: npt.NDArray[np.uint8], allowed: JpegLimits) -> bool:
    """Whether a JPEG keeps to the limits, for a stage that gets pictures which another one has inspected.

    Reads no more than the header unless the picture has several scans.
    """
    try:
        found = walk(encoded, whole=False)
        return _within(walk(encoded) if found.several_scans else found, allowed)
    except BrokenJpegError:
        return False


def _within(found: Segments, allowed: JpegLimits) -> bool:
    most_pixels = allowed.max_progressive_pixels if found.several_scans else allowed.max_pixels
    return found.width * found.height <= most_pixels and found.scans <= allowed.max_scans


def _plain(encoded: npt.NDArray[np.uint8], found: Segments) -> npt.NDArray[np.uint8]:
    """The JPEG without the segments that no decoder needs; see `inspect`."""
    if not found.dropped:
        return encoded[: found.end]
    parts = [np.frombuffer(START_OF_IMAGE, np.uint8)]
    if found.orientation != UPRIGHT:
        parts.append(np.frombuffer(exif_segment(found.orientation), np.uint8))
    position = len(START_OF_IMAGE)
    for start, end in found.dropped:
        parts.append(encoded[position:start])
        position = end
    return np.concatenate([*parts, encoded[position : found.end]])
