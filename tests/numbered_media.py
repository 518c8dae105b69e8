# SPDX-License-Identifier: Apache-2.0
"""Videos and folders of JPEGs whose pictures encode their frame number, for the tests of the client and load tester."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg
from numpy.typing import NDArray

BITS = 10  # black and white bars, lowest bit first

Picture = NDArray[np.uint8]


def numbered_picture(number: int, width: int = 320, height: int = 240) -> Picture:
    """uint8 (height, width, 3): `number` as a bar code that any lossy codec preserves."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[:, bit * width // BITS : (bit + 1) * width // BITS] = 255
    return picture


def read_number(jpeg: bytes) -> int:
    """The number in a picture of `numbered_picture`."""
    grey = simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0]
    width = grey.shape[1]
    bars = (grey[:, bit * width // BITS + 4 : (bit + 1) * width // BITS - 4].mean() for bit in range(BITS))
    return sum(int(bar > 128) << bit for bit, bar in enumerate(bars))


def write_video(
    path: Path,
    frames: int,
    codec: str = "libx264",
    *,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    rate: int | Fraction = 30,
    times_ms: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    picture: Callable[[int], Picture] = numbered_picture,
) -> Path:
    """A video of `frames` pictures, by default numbered ones.

    Args:
        rate: frames/s.
        times_ms: time stamps in place of a rate.
        aspect: sample aspect ratio.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_folder(folder: Path, names: list[str]) -> Path:
    """JPEGs whose pictures encode their place in `names`."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        jpeg = simplejpeg.encode_jpeg(numbered_picture(number), quality=80, colorspace="RGB")
        (folder / name).write_bytes(jpeg)
    return folder
