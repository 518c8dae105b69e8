# SPDX-License-Identifier: Apache-2.0
"""Frames as callers give them: encoded JPEGs as bytes or byte arrays, no pictures and no paths; and their size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from eulernet_client.errors import TooLargeError
from eulernet_client.sources import SourceFrame

_ENCODE = "encode it first: eulernet_core.jpeg.encode_jpeg(rgb), or cv2.imencode('.jpg', bgr)[1]"
_SEQUENCE = "jpegs: {kind}; give a list of encoded JPEGs, or call client.score(path) for a file or a folder"
_MB = 1 << 20


def encoded_frames(jpegs: Any) -> list[bytes]:
    """The frames of a clip as bytes.

    Args:
        jpegs: a sequence of frames as `encoded_frame` takes them.

    Raises:
        TypeError: not a sequence, or one of the frames is no encoded JPEG.
    """
    if isinstance(jpegs, np.ndarray):
        raise TypeError(f"jpegs: {_described(jpegs)}; give a list of encoded JPEGs; to get one, {_ENCODE}")
    if not isinstance(jpegs, Sequence) or isinstance(jpegs, str | bytes | bytearray | memoryview):
        raise TypeError(_SEQUENCE.format(kind=_described(jpegs)))
    return [encoded_frame(jpeg, f"frame {number}") for number, jpeg in enumerate(jpegs)]


def encoded_frame(jpeg: Any, name: str = "frame") -> bytes:
    """One frame as bytes; a copy of what could still change.

    Args:
        jpeg: the bytes of a JPEG: bytes, bytearray, memoryview, or a uint8 array (n,), (n, 1) or (1, n), as
            `cv2.imencode` gives it.
        name: the frame in the error's message.

    Raises:
        TypeError: says what the value is and what to give.
    """
    if isinstance(jpeg, bytes):
        return jpeg
    if isinstance(jpeg, bytearray):
        return bytes(jpeg)
    if isinstance(jpeg, memoryview) and jpeg.itemsize == 1:
        return jpeg.tobytes()
    if isinstance(jpeg, np.ndarray):
        if jpeg.dtype == np.uint8 and (jpeg.ndim == 1 or (jpeg.ndim == 2 and 1 in jpeg.shape)):
            return jpeg.tobytes()
        raise TypeError(f"{name}: {_described(jpeg)} is no encoded JPEG; {_ENCODE}")
    if isinstance(jpeg, str | os.PathLike):
        raise TypeError(
            f"{name}: a path or text ({type(jpeg).__name__}); give the file's bytes, or call client.score(path)"
        )
    raise TypeError(f"{name}: {_described(jpeg)}; give the bytes of a JPEG. Of a picture, {_ENCODE}")


def refuse_large(path: str, frames: Iterable[SourceFrame], most: int) -> None:
    """Refuses frames before they are sent.

    Args:
        path: the source in the message.
        frames: of a clip or a stream.
        most: bytes of the largest JPEG.

    Raises:
        TooLargeError: names the frame, its size and the limit.
    """
    for frame in frames:
        if len(frame.jpeg) > most:
            raise TooLargeError(
                f"{path}: {frame.name}: a JPEG of {len(frame.jpeg) / _MB:.1f} MB, the limit is {most / _MB:g} MB; "
                "encode it smaller, or raise max_frame_mb (--max-frame-mb) and the server's limit",
                path=path,
                index=frame.index,
            )


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, {value.dtype}"
    return f"a {type(value).__name__}" if value is not None else "None"
