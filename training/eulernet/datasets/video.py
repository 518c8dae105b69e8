"""Takes the clips of a video with PyAV (FFmpeg): frames decoded in order, upright, those that are wanted kept.

Where the clips lie is the rule that the client scores by, so that a training clip is one that a user would send.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

FRAMES, INTERVAL = 4, 3  # of a clip: the slides' sequence length and frame interval
Picture = NDArray[np.uint8]
_T = TypeVar("_T")


class VideoError(RuntimeError):
    """A video that can't be used; says why and what to do."""


@dataclass(frozen=True)
class Clip:
    """`start`: its first frame's number in the video. `pictures`: T times uint8 (H, W, 3), RGB, upright."""

    start: int
    pictures: list[Picture]


class _FrameCountError(Exception):
    """The decoder gave other frames than the packets announced: `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def clip_starts(frame_count: int, clips: int, frames: int = FRAMES, interval: int = INTERVAL) -> list[int]:
    """First frames of evenly placed clips: the k-th is centred in the k-th of `clips` equal parts of the video.

    A video too short for so many different clips gives fewer; one shorter than a clip gives none.
    """
    span = (frames - 1) * interval + 1
    last = frame_count - span
    if last < 0:
        return []
    centres = ((2 * k + 1) * frame_count / (2 * clips) for k in range(clips))
    return sorted({min(last, max(0, int(centre - span / 2))) for centre in centres})


def map_clips(
    path: Path, clips: int, visit: Callable[[Clip], _T], frames: int = FRAMES, interval: int = INTERVAL
) -> list[_T]:
    """What `visit` makes of each clip, in order. Holds no more pictures than the clips at hand need.

    `visit` may be called for some clips a second time: when the decoder gives fewer frames than the file announces,
    the clips are placed anew.

    Raises:
        VideoError: the file can't be opened, holds no pictures, or fewer than a clip needs.
    """
    with _named_errors(path):
        count = _count_packets(path)
        try:
            return [visit(clip) for clip in _clips(path, count, clips, frames, interval)]
        except _FrameCountError as error:
            count = error.count
        try:
            return [visit(clip) for clip in _clips(path, count, clips, frames, interval)]
        except _FrameCountError as error:
            raise VideoError(f"{path}: gives other frames each time it is decoded; record it again") from error


def probe(path: Path) -> tuple[int, Fraction]:
    """How many frames a video announces, and its average rate in frames/s. Decodes nothing.

    Raises:
        VideoError: the file can't be opened, holds no pictures, or does not tell its rate.
    """
    with _named_errors(path):
        with _open(path) as container:
            stream = _stream(container, path)
            rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise VideoError(f"{path}: does not say how many frames a second it has; convert it to MP4")
        return _count_packets(path), Fraction(rate)


def read_frames(path: Path) -> Iterator[Picture]:
    """All frames of a video in order: uint8 (H, W, 3), RGB, upright. One at a time is held.

    Raises:
        VideoError: the file can't be opened or holds no pictures.
    """
    with _named_errors(path):
        for frame in _decode(path):
            yield upright(frame)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise VideoError(f"{path}: not a video that can be read ({reason}); copy or record it again") from error


def _clips(path: Path, count: int, clips: int, frames: int, interval: int) -> Iterator[Clip]:
    starts = clip_starts(count, clips, frames, interval)
    span = (frames - 1) * interval + 1
    if not starts:
        # The decoder has the last word: some files announce nothing.
        decoded = sum(1 for _ in _decode(path))
        if decoded != count:
            raise _FrameCountError(decoded)
        raise VideoError(f"{path}: {count} frames, needs at least {span} ({frames} frames, every {interval}th)")
    wanted = {start + interval * t for start in starts for t in range(frames)}
    held: dict[int, Picture] = {}
    todo = iter(starts)
    start = next(todo)
    index = -1
    for index, frame in enumerate(_decode(path)):
        if index not in wanted:
            continue
        held[index] = upright(frame)
        while index >= start + span - 1:
            yield Clip(start, [held[start + interval * t] for t in range(frames)])
            start = next(todo, -1)
            if start < 0:
                return
            held = {number: picture for number, picture in held.items() if number >= start}
    raise _FrameCountError(index + 1)


def _open(path: Path) -> Any:
    # Only local files: a playlist may not make FFmpeg call the network. Titles need not be UTF-8.
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def _stream(container: Any, path: Path) -> Any:
    streams = [each for each in container.streams.video if not each.disposition & each.disposition.attached_pic]
    if not streams or container.format.name == "tty":
        raise VideoError(f"{path}: no pictures in this file; give an AVI, MP4, MOV or WebM video")
    if streams[0].codec_context is None:
        raise VideoError(f"{path}: its codec is not known here; convert it to H.264")
    # Threads of a decoder would compete with the processes that each read a video of their own.
    streams[0].codec_context.thread_count = 1
    return streams[0]


def _count_packets(path: Path) -> int:
    """How many frames the file announces; reads it, decodes nothing."""
    count = 0
    with _open(path) as container:
        stream = _stream(container, path)
        try:
            for packet in container.demux(stream):
                count += packet.size > 0 and not packet.is_discard
        except FFmpegError:
            pass  # cut short: what was read until here counts
    return count


def _decode(path: Path) -> Iterator[Any]:
    """All frames in order; a packet that can't be decoded is passed over, as players do."""
    with _open(path) as container:
        packets = container.demux(_stream(container, path))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, FFmpegError):
                return
            try:
                yield from packet.decode()
            except FFmpegError:
                continue


def upright(frame: Any) -> Picture:
    """A decoded frame as players show it, turned by the display matrix that phones write: uint8 (H, W, 3), RGB.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] (ISO/IEC 14496-12) sends the stored pixel (p, q) to
    (a p + c q, b p + d q); phones turn by quarters, so its signs and larger diagonal say all.
    """
    picture: Picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if sideways else (a, d)
    turned = picture.transpose(1, 0, 2) if sideways else picture
    turned = turned[:, ::-1] if across < 0 else turned
    return np.ascontiguousarray(turned[::-1] if down < 0 else turned)
