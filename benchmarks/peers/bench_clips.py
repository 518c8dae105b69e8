# SPDX-License-Identifier: Apache-2.0
"""The clips of the benchmark: the demo videos as JPEGs of any frame size."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from benchmarks.moving_pictures import QUALITY, with_grain
from benchmarks.peers.errors import BenchError
from eulernet.simulation.demo_clips import CLIPS, make_demo_clips
from eulernet_core.jpeg import encode_jpeg
from eulernet_loadtest.traffic import Source, Traffic, load

SOURCE_HEIGHT = 0.75  # share of the frame: the face fills most of a demo video, less of a camera's frame


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` to (width, height) px. Raises: BenchError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(height) >= 64 and int(width) >= 64):
        raise BenchError(f"--frames {text}: give WIDTHxHEIGHT, at least 64x64, such as 640x480")
    return int(width), int(height)


def demo_videos(folder: Path) -> list[Path]:
    """The demo videos; rendered if one is missing."""
    paths = [folder / f"{name}.mp4" for name in CLIPS]
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        make_demo_clips(folder)
    return paths


def make_clips(videos: list[Path], width: int, height: int, most: int | None = None) -> Traffic:
    """Clips of four JPEGs, each a separate source, so that a stream has four frames.

    Args:
        videos: the demo videos.
        width, height: size of every frame, px.
        most: clips of one video; all by default.
    """
    sources = []
    for path in videos:
        for number, clip in enumerate(list(load([path]).clips())[:most]):
            grain = np.random.default_rng(number)
            jpegs = tuple(_reframed(jpeg, width, height, grain) for jpeg in clip)
            sources.append(Source(f"{path.stem}-{number}", jpegs))
    return Traffic(tuple(sources))


def _reframed(jpeg: bytes, width: int, height: int, grain: np.random.Generator) -> bytes:
    """The picture in the middle of a frame of another size, with its edges replicated."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    scale = min(SOURCE_HEIGHT * height / picture.shape[0], SOURCE_HEIGHT * width / picture.shape[1])
    inner = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    frame = cv2.copyMakeBorder(small, top, height - inner[1] - top, left, width - inner[0] - left, cv2.BORDER_REPLICATE)
    noisy = with_grain(frame.astype(np.float32), grain)
    return encode_jpeg(noisy[..., ::-1], QUALITY)


def write_clips(traffic: Traffic, folder: Path) -> None:
    """Writes every JPEG as `<clip>/<frame>.jpg`, for another process; replaces the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for place_number, source in enumerate(traffic.sources):
        place = folder / f"{place_number:03}-{source.path}"
        place.mkdir(parents=True)
        for number, jpeg in enumerate(source.jpegs):
            (place / f"{number}.jpg").write_bytes(jpeg)


def read_clips(folder: Path) -> list[tuple[bytes, ...]]:
    """The clips that `write_clips` wrote, in the same order."""
    return [tuple(file.read_bytes() for file in sorted(place.glob("*.jpg"))) for place in sorted(folder.iterdir())]
