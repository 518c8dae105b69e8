# SPDX-License-Identifier: Apache-2.0
"""Body of a POST with a clip's four JPEGs: binary, since a server parses it faster than a multipart form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eulernet_core.clip_geometry import CLIP_FRAMES

WORD = np.dtype("<u4")
HEADERS = {"Content-Type": "application/octet-stream"}


class UnscorableError(ValueError):
    """Not four JPEGs, a frame that can't be decoded, or no face in the first frame."""


@dataclass(frozen=True)
class Clip:
    """Four JPEGs. `exact`: detect the face on the same pixels as this project's server, decode and shrink it in the
    same way, to compare scores; that costs further decodes, so it is off in the measurements."""

    jpegs: tuple[bytes, ...]
    exact: bool = False


def pack(jpegs: Sequence[bytes], exact: bool = False) -> bytes:
    """A request's body: `exact` as 0 or 1 and the sizes of the JPEGs, uint32 little-endian, then the JPEGs."""
    return np.array([exact, *map(len, jpegs)], WORD).tobytes() + b"".join(jpegs)


def unpack(body: bytes) -> Clip:
    """The clip of a body. Raises: UnscorableError if its length does not match its sizes."""
    head = (1 + CLIP_FRAMES) * WORD.itemsize
    words = np.frombuffer(body[:head].ljust(head, b"\0"), WORD)
    ends = [head, *(head + np.cumsum(words[1:], dtype=np.int64)).tolist()]
    if ends[-1] != len(body):
        raise UnscorableError(f"a body of {len(body)} bytes is not {CLIP_FRAMES} sizes and as many JPEGs")
    return Clip(tuple(body[begin:end] for begin, end in pairwise(ends)), bool(words[0]))
