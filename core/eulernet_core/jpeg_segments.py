# SPDX-License-Identifier: Apache-2.0
"""The marker segments of a JPEG (ITU-T T.81, B.1), read once by walking them, and the EXIF orientation in them.

Nothing is decoded. A walk takes time in proportion to the bytes, and its number of segments is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

START_OF_IMAGE = b"\xff\xd8"
MOST_SEGMENTS = 4096  # a picture with all its metadata has a few hundred
# Markers, second byte. Baseline, extended and progressive DCT with Huffman coding: the kinds that decoders support.
_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_TABLES = (0xC4, 0xDB, 0xDC, 0xDD)  # DHT, DQT, DNL, DRI
_SOI, _EOI, _SOS, _TEM, _COMMENT = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
_APPLICATION = range(0xE0, 0xF0)
_EXIF = 0xE1
_NEEDED_BY_DECODERS = (0xE0, 0xEE)  # JFIF, and Adobe's colour transform
_COMPONENTS = (1, 3, 4)

_EXIF_SIGNATURE = b"Exif\x00\x00"
_ORIENTATION_TAG, _SHORT = 0x0112, 3
ORIENTATIONS = range(1, 9)
UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height

# Bytes that make a marker when they follow 0xFF: no stuffed zero, no restart marker, no fill byte.
_MAKES_MARKER = np.ones(256, bool)
_MAKES_MARKER[[0x00, *range(0xD0, 0xD8), 0xFF]] = False


class BrokenJpegError(ValueError):
    """The bytes are not one whole JPEG of a supported kind."""


@dataclass
class Segments:
    """What a walk finds.

    Attributes:
        width, height: of the stored picture, px.
        several_scans: whether decoders hold the coefficients of the whole picture.
        scans: number of scans.
        orientation: EXIF orientation, 1 to 8; 1 where there is none that follows the standard.
        end: offset behind the end marker, bytes.
        dropped: the parts (start, end) before the first scan that no decoder needs: metadata, thumbnails, comments.
    """

    width: int = 0
    height: int = 0
    several_scans: bool = False
    scans: int = 0
    orientation: int = 0
    end: int = 0
    dropped: list[tuple[int, int]] = field(default_factory=list)
    components: int = 0


def walk(encoded: npt.NDArray[np.uint8], whole: bool = True) -> Segments:
    """Reads the segments of one JPEG, up to its end marker; bytes behind that are ignored.

    Args:
        encoded: uint8 (bytes,).
        whole: False stops at the first scan, which costs next to nothing and leaves `end` at 0.
    Raises: BrokenJpegError where the picture is cut, damaged in its structure, or of an unsupported kind.
    """
    data = encoded.tobytes()
    if data[:2] != START_OF_IMAGE:
        raise BrokenJpegError("no start marker")
    found = Segments()
    expected = len(START_OF_IMAGE)
    for marker, start, end in _segments(encoded, data):
        in_header = not found.scans
        if in_header and start > expected:
            found.dropped.append((expected, start))  # fill bytes, which not every decoder skips
        expected = end
        if marker in _FRAME_HEADERS:
            _frame_header(data[start + 4 : end], marker, found)
        elif marker == _SOS:
            _start_of_scan(data[start + 4 : end], found)
            if not whole:
                break
        elif marker in _APPLICATION or marker == _COMMENT:
            if marker == _EXIF and in_header and not found.orientation:
                found.orientation = _orientation(data[start + 4 : end])
            # Behind a scan nothing is dropped: the bytes on both sides could make a marker together.
            if marker not in _NEEDED_BY_DECODERS and in_header:
                found.dropped.append((start, end))
        elif marker == _EOI:
            found.end = end
        elif marker not in _TABLES:
            raise BrokenJpegError(f"marker {marker:#04x}")
    if not found.scans or (whole and not found.end):
        raise BrokenJpegError("no end marker" if found.scans else "no scan")
    found.orientation = found.orientation or UPRIGHT
    return found


def _segments(encoded: npt.NDArray[np.uint8], data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the end marker; entropy-coded data belongs to none."""
    candidates: npt.NDArray[np.intp] | None = None
    position, size = 2, len(data)
    for _ in range(MOST_SEGMENTS):
        if data[position : position + 1] == b"\xff" and position + 1 < size and _MAKES_MARKER[data[position + 1]]:
            start = position
        else:  # behind a scan, or behind bytes that belong to no segment
            if candidates is None:
                candidates = np.flatnonzero(encoded[:-1] == 0xFF)
                candidates = candidates[_MAKES_MARKER[encoded[candidates + 1]]]
            index = int(np.searchsorted(candidates, position))
            if index == len(candidates):
                return
            start = int(candidates[index])
        marker = data[start + 1]
        if marker == _EOI:
            yield marker, start, start + 2
            return
        if marker == _TEM:
            position = start + 2
            continue
        if marker == _SOI or start + 4 > size:
            raise BrokenJpegError("cut, or a second picture inside")
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        position = start + 2 + length
        if length < 2 or position > size:
            raise BrokenJpegError("a segment is longer than the data")
        yield marker, start, position
    raise BrokenJpegError(f"more than {MOST_SEGMENTS} segments")


def _frame_header(body: bytes, marker: int, found: Segments) -> None:
    if found.components or found.scans or len(body) < 6:
        raise BrokenJpegError("a second or a short frame header")
    precision, found.height, found.width, found.components = struct.unpack(">BHHB", body[:6])
    if precision != 8 or found.components not in _COMPONENTS or len(body) != 6 + 3 * found.components:
        raise BrokenJpegError("unsupported precision or components")
    if not found.height or not found.width:
        raise BrokenJpegError("no size in the frame header")
    found.several_scans = marker == _PROGRESSIVE


def _start_of_scan(body: bytes, found: Segments) -> None:
    if not found.components or not body:
        raise BrokenJpegError("a scan before the frame header")
    found.scans += 1
    found.several_scans |= found.scans > 1 or body[0] < found.components


def _orientation(body: bytes) -> int:
    """Of an APP1 segment: 1 to 8 from the first entry that follows EXIF 2.3 (one SHORT), else 0."""
    block = body[len(_EXIF_SIGNATURE) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if not body.startswith(_EXIF_SIGNATURE) or order is None or len(block) < 8:
        return 0
    (directory,) = struct.unpack(order + "L", block[4:8])
    if directory + 2 > len(block):
        return 0
    (count,) = struct.unpack_from(order + "H", block, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHLH", block, at)
        if (tag, kind, values) == (_ORIENTATION_TAG, _SHORT, 1) and value in ORIENTATIONS:
            return int(value)
    return 0


def exif_segment(orientation: int) -> bytes:
    """An APP1 segment with nothing but the orientation."""
    entry = struct.pack(">HHLHH", _ORIENTATION_TAG, _SHORT, 1, orientation, 0)
    body = _EXIF_SIGNATURE + b"MM\0*" + struct.pack(">LH", 8, 1) + entry + bytes(4)
    return struct.pack(">BBH", 0xFF, _EXIF, len(body) + 2) + body
