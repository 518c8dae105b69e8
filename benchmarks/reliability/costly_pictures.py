# SPDX-License-Identifier: Apache-2.0
"""Requests of at most 1 MB that keep to the server's limits and cost as much processor time as their makers know how.

A face is in most of them: only then does the server decode a picture a second time, for the crop.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.reliability.jpeg_parts import COMMENT, DHT, END, SOS, empty_refinement, join, run_table, split
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.jpeg_segments import MOST_SEGMENTS
from eulernet_core.limits import MAX_PIXELS, MAX_PROGRESSIVE_PIXELS, MAX_SCANS
from tests.crafted_jpegs import behind_start, segment

MAX_REQUEST_BYTES = 1_000_000
FREE_TABLE = 3  # of the four Huffman tables; encoders use the first two
BLOCK_PX = 8
FACE_DOWN_PX = 290  # of 512


def costly_clips() -> Iterator[tuple[str, list[bytes]]]:
    """Names and the four JPEGs of a clip, at most MAX_REQUEST_BYTES together."""
    side, progressive_side = int(MAX_PIXELS**0.5), int(MAX_PROGRESSIVE_PIXELS**0.5)
    pixels, grey = _face(side), _face(progressive_side, grey=True)
    quarter = MAX_REQUEST_BYTES // CLIP_FRAMES
    for subsampling, name in ((0, "4:4:4"), (2, "4:2:0")):
        jpeg = _largest(pixels, quarter, subsampling=subsampling)
        yield f"baseline at the pixel limit, {name}", [jpeg] * CLIP_FRAMES
    yield "baseline, restart markers in each row", [_restarts(pixels, quarter)] * CLIP_FRAMES
    for quality in (10, 95):
        small = _encode(_face(640), quality=quality)
        yield f"{MOST_SEGMENTS - 100} comments, quality {quality}", [_comments(small)] * CLIP_FRAMES
    plain = _largest(_face(progressive_side), quarter, progressive=True)
    yield "progressive at the pixel limit", [plain] * CLIP_FRAMES
    bomb = with_empty_refinements(_largest(grey, quarter - 2000, progressive=True, subsampling=0), progressive_side)
    yield f"progressive, {MAX_SCANS} scans at the pixel limit", [bomb] * CLIP_FRAMES
    moving = [with_empty_refinements(each, progressive_side) for each in _several_sizes(progressive_side, quarter)]
    yield f"progressive, {MAX_SCANS} scans, four sizes", moving
    hidden = with_hidden_scans(_largest(grey, quarter // 2, progressive=True, subsampling=0), progressive_side, 2000)
    yield "progressive, 2000 scans hidden behind comments", [hidden] * CLIP_FRAMES
    yield f"baseline, {MAX_SCANS} scans at the pixel limit", [_repeated_scans(progressive_side)] * CLIP_FRAMES
    yield "baseline, no face, four sizes", [_blank(side, side - 8 * k) for k in range(CLIP_FRAMES)]
    yield "many Huffman tables", [_tables(small)] * CLIP_FRAMES


def with_empty_refinements(jpeg: bytes, side_px: int) -> bytes:
    """A grey progressive picture, 4:4:4, with empty refinements of its colour up to the limit of scans."""
    blocks = (side_px // BLOCK_PX) ** 2
    present = sum(part.marker == SOS for part in split(jpeg))
    scans = (empty_refinement(2 + k % 2, FREE_TABLE, blocks) for k in range(MAX_SCANS - present))
    return jpeg[: -len(END)] + run_table(FREE_TABLE) + b"".join(scans) + END


def _face(side_px: int, grey: bool = False) -> NDArray[np.uint8]:
    from skimage.data import astronaut

    picture: NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    picture = np.roll(picture, FACE_DOWN_PX, axis=0)  # a decoder stops behind the face's last row
    large = cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    if grey:
        large = np.repeat(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    return np.asarray(large, np.uint8)


def _encode(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", optimize=True, **options)  # shortest codes: more pixels a byte
    return stored.getvalue()


def _largest(pixels: NDArray[np.uint8], most_bytes: int, **options: Any) -> bytes:
    """The picture in the highest quality that fits."""
    for quality in (90, 70, 50, 30, 20, 10, 5, 2, 1):
        jpeg = _encode(pixels, quality=quality, **options)
        if len(jpeg) <= most_bytes:
            return jpeg
    return jpeg


def _several_sizes(side_px: int, most_bytes: int) -> list[bytes]:
    """Pictures that differ in height: the server looks for the face in each."""
    grey = _face(side_px, grey=True)
    return [
        _largest(grey[: side_px - BLOCK_PX * k], most_bytes - 2000, progressive=True, subsampling=0)
        for k in range(CLIP_FRAMES)
    ]


def _restarts(pixels: NDArray[np.uint8], most_bytes: int) -> bytes:
    return _largest(pixels, most_bytes, restart_marker_rows=1, subsampling=2)


def _comments(jpeg: bytes) -> bytes:
    return behind_start(jpeg, segment(COMMENT, b"") * (MOST_SEGMENTS - 100))


def _tables(jpeg: bytes) -> bytes:
    tables = b"".join(bytes(part) for part in split(jpeg) if part.marker == DHT)
    count = min((MOST_SEGMENTS - 100) // 4, (MAX_REQUEST_BYTES // CLIP_FRAMES - len(jpeg)) // len(tables))
    return behind_start(jpeg, tables * count)


def _repeated_scans(side_px: int) -> bytes:
    """A baseline picture whose scan comes again up to the limit, each time without data."""
    parts = split(_encode(_face(side_px), quality=2, subsampling=2))
    scan = next(part for part in parts if part.marker == SOS)
    return join([*parts, *[type(scan)(SOS, scan.body, b"\0")] * (MAX_SCANS - 1)])


def _blank(width_px: int, height_px: int) -> bytes:
    """One grey level, 4:4:4: no face is found, so each frame is looked at."""
    return _encode(np.full((height_px, width_px, 3), 90, np.uint8), quality=2, subsampling=0)


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height in px, from the frame header."""
    header = next(part for part in split(jpeg) if part.marker in (0xC0, 0xC2))
    height, width = struct.unpack(">HH", header.body[1:5])
    return int(width), int(height)


def with_hidden_scans(jpeg: bytes, side_px: int, scans: int) -> bytes:
    """A grey progressive picture with empty refinements whose markers a comment divides: without the comments, they
    are scans."""
    blocks = (side_px // BLOCK_PX) ** 2
    hidden = (
        bytes([0xFF]) + segment(COMMENT, b"") + empty_refinement(2 + k % 2, FREE_TABLE, blocks)[1:]
        for k in range(scans)
    )
    return jpeg[: -len(END)] + run_table(FREE_TABLE) + b"".join(hidden) + END
