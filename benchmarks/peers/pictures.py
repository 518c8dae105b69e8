"""The clips that every way is given: the demo's videos as JPEGs of any frame size."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from eulernet_build.demo_clips import CLIPS, make_demo_clips
from eulernet_client.loadtest.traffic import Source, Traffic, load
from numpy.typing import NDArray

from benchmarks.peers.errors import BenchError

SOURCE_HEIGHT = 0.75  # of the frame's: a demo video is nearly all face, a camera's frame is not
JPEG_QUALITY = 90
GRAIN = 2.0  # grey levels: a sensor's noise, which neither enlarging nor filling in brings, and which fills a JPEG


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` to (width, height) px. Raises: BenchError."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(height) >= 64 and int(width) >= 64):
        raise BenchError(f"--frames {text}: no frame size of at least 64x64; give WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)


def demo_videos(folder: Path) -> list[Path]:
    """The demo's videos, made where one is missing."""
    paths = [folder / f"{name}.mp4" for name in CLIPS]
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        make_demo_clips(folder)
    return paths


def make_clips(videos: list[Path], width: int, height: int, most: int | None = None) -> Traffic:
    """Clips of four JPEGs, each a source of its own, so that a stream of one is four frames long.

    Args:
        videos: what `demo_videos` returns.
        width, height: of every frame, px.
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
    """The picture in the middle of a frame of another size, its edges drawn out to the frame's."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    scale = min(SOURCE_HEIGHT * height / picture.shape[0], SOURCE_HEIGHT * width / picture.shape[1])
    inner = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    frame = cv2.copyMakeBorder(
        small, top, height - inner[1] - top, left, width - inner[0] - left, cv2.BORDER_REPLICATE
    ).astype(np.float32)
    frame += GRAIN * grain.standard_normal((height, width, 1), np.float32)
    noisy: NDArray[np.uint8] = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def write_clips(traffic: Traffic, folder: Path) -> None:
    """Writes every JPEG as `<clip>/<frame>.jpg` in place of what is there, for another process and for people."""
    shutil.rmtree(folder, ignore_errors=True)
    for place_number, source in enumerate(traffic.sources):
        place = folder / f"{place_number:03}-{source.path}"
        place.mkdir(parents=True)
        for number, jpeg in enumerate(source.jpegs):
            (place / f"{number}.jpg").write_bytes(jpeg)


def read_clips(folder: Path) -> list[tuple[bytes, ...]]:
    """What `write_clips` wrote, in the same order."""
    return [tuple(file.read_bytes() for file in sorted(place.glob("*.jpg"))) for place in sorted(folder.iterdir())]
