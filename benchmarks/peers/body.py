"""How a clip's four JPEGs lie in the body of one POST: a binary body is read faster than a multipart form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FRAMES = 4
WORD = np.dtype("<u4")
HEADERS = {"Content-Type": "application/octet-stream"}


class UnscorableError(ValueError):
    """No four JPEGs, a frame that can't be decoded, or no face in the first one."""


@dataclass(frozen=True)
class Clip:
    """Four JPEGs. `exact`: find the face on the very pixels that this project's server finds it on, so that the box is
    the same to the pixel: for comparing scores; it costs a second decode, which a user would do without."""

    jpegs: tuple[bytes, ...]
    exact: bool = False


def pack(jpegs: Sequence[bytes], exact: bool = False) -> bytes:
    """A request's body: `exact` as 0 or 1, the sizes of the JPEGs, both uint32 little-endian, and the JPEGs."""
    return np.array([exact, *map(len, jpegs)], WORD).tobytes() + b"".join(jpegs)


def unpack(body: bytes) -> Clip:
    """The clip of a body. Raises: UnscorableError where it is not what `pack` makes."""
    head = (1 + FRAMES) * WORD.itemsize
    words = np.frombuffer(body[:head].ljust(head, b"\0"), WORD)
    ends = [head, *(head + np.cumsum(words[1:], dtype=np.int64)).tolist()]
    if ends[-1] != len(body):
        raise UnscorableError(f"a body of {len(body)} bytes is not {FRAMES} sizes and as many JPEGs")
    return Clip(tuple(body[begin:end] for begin, end in pairwise(ends)), bool(words[0]))
