# SPDX-License-Identifier: Apache-2.0
"""Reads videos with PyAV (FFmpeg): clips of upright frames, all frames, or the frame rate alone.

Clips are read by an index: the packets are read once for their time stamps, then only the frames of the clips are
sought and decoded. The decoded frames are checked against the index; where they disagree, the video is decoded from its
beginning and the frames are counted.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import av
import numpy as np
from av.error import FFmpegError

from eulernet_core.clip_geometry import (
    CLIP_FRAMES,
    FRAME_INTERVAL,
    Clip,
    clip_indices,
    clip_starts,
    gather_clips,
    too_few_frames,
)
from eulernet_core.errors import (
    MissingFileError,
    NotAVideoError,
    TooFewFramesError,
    TruncatedVideoError,
    UnreadableFileError,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

T = TypeVar("T")
# Titles and other metadata need not be UTF-8. PyAV 19 accepts any bytes and has no option for it.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_WHAT_TO_GIVE = "give an MP4, MOV, AVI or WebM video, or a folder of JPEGs"


class _IndexWrongError(Exception):
    """The decoder's frames differ from the frames that the packets announced."""


@dataclass(frozen=True)
class _Index:
    """`times`: pts of all frames, ascending. `key_times`: pts of the keyframes; `key_seeks`: where to seek for each."""

    times: list[int]
    key_times: list[int]
    key_seeks: list[int]


@dataclass(frozen=True)
class _Layout:
    """How clips lie in a source; see eulernet_core.clip_geometry."""

    clips: int
    frames: int
    interval: int

    def starts(self, frame_count: int) -> list[int]:
        return clip_starts(frame_count, self.clips, self.frames, self.interval)

    def wanted(self, starts: list[int]) -> set[int]:
        return {index for start in starts for index in clip_indices(start, self.frames, self.interval)}

    def gather(self, starts: list[int], items: Iterator[tuple[int, T]], first_number: int = 0) -> Iterator[Clip[T]]:
        return gather_clips(starts, items, first_number, self.frames, self.interval)


def read_clips(
    path: Path,
    clips: int,
    convert: Callable[[VideoFrame], T],
    frames: int = CLIP_FRAMES,
    interval: int = FRAME_INTERVAL,
    threads: int = 0,
) -> Iterator[Clip[T]]:
    """The clips of a video, one at a time.

    Args:
        path: a video file.
        clips: how many, spread evenly.
        convert: makes an item of a decoded frame, such as `upright`.
        frames, interval: of one clip.
        threads: of the decoder, 0 for as many as FFmpeg likes.
    Raises:
        MediaError: the file can't be opened, holds no pictures, or fewer than a clip needs.
    """
    layout = _Layout(clips, frames, interval)
    done = 0
    with named_errors(path):
        try:
            for clip in _indexed_clips(path, layout, convert, threads):
                yield clip
                done += 1
            return
        except _IndexWrongError:
            pass
        frame_count = sum(1 for _ in _decode_all(path, threads))
        if frame_count == 0:
            raise NotAVideoError(f"{path}: none of its frames can be decoded; {_WHAT_TO_GIVE}")
        starts = layout.starts(frame_count)
        if not starts:
            raise TooFewFramesError(f"{path}: {too_few_frames(frame_count, frames, interval)}")
        wanted = layout.wanted(starts[done:])
        counted = ((i, convert(frame)) for i, frame in enumerate(_decode_all(path, threads)) if i in wanted)
        yield from layout.gather(starts[done:], counted, done)


def read_frames(path: Path, convert: Callable[[VideoFrame], T], threads: int = 0, every: int = 1) -> Iterator[T]:
    """Every `every`-th frame of a video from the first, in order; one at a time is held.

    Raises:
        MediaError: the file can't be opened or holds no pictures.
    """
    with named_errors(path):
        for number, frame in enumerate(_decode_all(path, threads)):
            if number % every == 0:
                yield convert(frame)


def frame_rate(path: Path) -> Fraction:
    """The average rate that a video announces, frames/s. Decodes nothing.

    Raises:
        MediaError: the file can't be opened, holds no pictures, or does not tell its rate.
    """
    with named_errors(path), open_video(path, threads=1) as (_, stream):
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise NotAVideoError(f"{path}: does not say how many frames a second it has; convert it to MP4")
        return Fraction(rate)


def announced_frames(path: Path) -> int:
    """How many frames a video announces. Reads all of it, decodes nothing.

    Raises:
        MediaError: the file can't be opened or holds no pictures.
    """
    with named_errors(path), open_video(path, threads=1) as (container, stream):
        return sum(1 for _ in _frame_packets(container, stream))


def upright(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """A decoded frame as players show it, turned by the display matrix that phones write: uint8 (H, W, 3), RGB.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] (ISO/IEC 14496-12) sends the stored pixel (p, q) to
    (a p + c q, b p + d q). Phones turn by quarters, so its signs and its larger diagonal tell all.
    """
    picture: npt.NDArray[np.uint8] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if sideways else (a, d)
    turned = picture.transpose(1, 0, 2) if sideways else picture
    turned = turned[:, ::-1] if across < 0 else turned
    return np.ascontiguousarray(turned[::-1] if down < 0 else turned)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Inside the block, an error of the operating system or of FFmpeg becomes a MediaError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file or folder; check the path") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
    except FFmpegError as error:
        raise NotAVideoError(f"{path}: not a video that can be read ({error.strerror}); {_WHAT_TO_GIVE}") from error
    except OSError as error:
        raise UnreadableFileError(f"{path}: can't be read ({error.strerror}); check the path and the disk") from error


@contextmanager
def open_video(path: Path, threads: int = 0) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens the file and finds its pictures. Only local files: a playlist may not make FFmpeg call the network.

    Raises:
        NotAVideoError: nothing that can be decoded; OSError as the system raises it.
    """
    if path.stat().st_size == 0:
        raise NotAVideoError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, **_LENIENT)
    except PermissionError:
        raise
    except FFmpegError as error:
        if _lacks_moov(path):
            raise TruncatedVideoError(
                f"{path}: the file ends before its index (moov box), so it was cut short while recording or copying; "
                "copy or record it again"
            ) from error
        raise
    with container:
        streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if container.format.name == "tty" or not streams:
            kinds: list[str] = sorted({str(s.type) for s in container.streams} - {"video"})
            what = "text" if container.format.name == "tty" else f"only {', '.join(kinds) or 'no stream'}"
            raise NotAVideoError(f"{path}: no pictures in this file ({what}); {_WHAT_TO_GIVE}")
        if streams[0].codec_context is None:
            raise NotAVideoError(f"{path}: its pictures are in a format that FFmpeg here can't decode; {_WHAT_TO_GIVE}")
        if threads:
            streams[0].codec_context.thread_count = threads
        else:
            streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _indexed_clips(path: Path, layout: _Layout, convert: Callable[[VideoFrame], T], threads: int) -> Iterator[Clip[T]]:
    with open_video(path, threads) as (container, stream):
        index = _read_index(container, stream)
        starts = layout.starts(len(index.times))
        if not starts:
            # The decoder has the last word on how many frames there are.
            raise _IndexWrongError
        found = _seek_frames(container, stream, index, sorted(layout.wanted(starts)))
        yield from layout.gather(starts, ((i, convert(frame)) for i, frame in found))


def _frame_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets that announce a frame, up to the first broken place."""
    try:
        for packet in container.demux(stream):
            if packet.size > 0 and not packet.is_discard and not _hidden(packet, stream):
                yield packet
    except FFmpegError:
        pass  # cut short: the frames before this place count


def _read_index(container: InputContainer, stream: VideoStream) -> _Index:
    times, keys = [], []
    for packet in _frame_packets(container, stream):
        if packet.pts is None:
            raise _IndexWrongError
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append((packet.pts, min(packet.pts, packet.pts if packet.dts is None else packet.dts)))
    times.sort()
    keys.sort()
    if not keys or any(a == b for a, b in pairwise(times)):
        raise _IndexWrongError
    return _Index(times, [key[0] for key in keys], [key[1] for key in keys])


def _hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """VP8 has separate packets for frames that are only referred to (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _seek_frames(
    container: InputContainer, stream: VideoStream, index: _Index, wanted: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames, in order; seeks wherever a keyframe lies between the present position and the next one."""
    order = {time: i for i, time in enumerate(index.times)}
    frames: Iterator[VideoFrame] = iter(())
    position: int | None = None  # the frame decoded last
    for target in wanted:
        key = bisect_right(index.key_times, index.times[target]) - 1
        if key < 0:
            raise _IndexWrongError
        if position is None or order[index.key_times[key]] > position + 1:
            try:
                container.seek(index.key_seeks[key], stream=stream, backward=True)
            except FFmpegError as error:
                raise _IndexWrongError from error
            frames, position = _decode(container, stream), None
        for frame in frames:
            here = None if frame.pts is None else order.get(frame.pts)
            if here is None or here > target or (position is not None and here != position + 1):
                raise _IndexWrongError
            position = here
            if here == target:
                yield target, frame
                break
        else:
            raise _IndexWrongError


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames from the present position on; a packet that cannot be decoded is passed over, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            break
        try:
            yield from stream.decode(packet)
        except FFmpegError:
            continue


def _decode_all(path: Path, threads: int) -> Iterator[VideoFrame]:
    with open_video(path, threads) as (container, stream):
        yield from _decode(container, stream)


def _lacks_moov(path: Path) -> bool:
    """Whether this is an MP4 or MOV (ISO/IEC 14496-12) whose boxes end before any `moov`."""
    kinds: list[bytes] = []
    offset, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while offset + 8 <= size and len(kinds) < 1000:
            file.seek(offset)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            kinds.append(kind)
            if length < 8:  # 0: to the end of the file
                break
            offset += length
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds
