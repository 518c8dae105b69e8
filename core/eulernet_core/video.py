# SPDX-License-Identifier: Apache-2.0
"""Reads videos with PyAV (FFmpeg): clips of upright frames, all frames, or the frame rate alone.

Clips are read by an index: the packets are read once for their time stamps, then only the frames of the clips are
sought and decoded. The decoded frames are checked against the index; where they disagree, the video is decoded from its
beginning and the frames are counted.
"""

from __future__ import annotations

import re
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from eulernet_core.clip_geometry import (
    CLIP_FRAMES,
    FRAME_INTERVAL,
    FRAME_SPACING_S,
    Clip,
    gather_clips,
    spacing_warning,
    timed_clips,
    too_short,
)
from eulernet_core.errors import (
    MissingFileError,
    NotAFileError,
    NotAVideoError,
    TooFewFramesError,
    TruncatedVideoError,
    UnreadableFileError,
)
from eulernet_core.video_index import (
    FrameIndex,
    IndexWrongError,
    announced_rate,
    decoded_frames,
    frame_packets,
    frame_times,
    read_index,
    running_times,
    stamped_times,
)
from eulernet_core.video_seeking import chosen_frames, refuse_damage

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

T = TypeVar("T")
# Titles and other metadata need not be UTF-8. PyAV 19 accepts any bytes and has no option for it.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_WHAT_TO_GIVE = "give an MP4, MOV, AVI or WebM video, or a folder of JPEGs"
_COVER, _THUMBNAILS, _DEFAULT = Disposition.attached_pic, Disposition.timed_thumbnails, Disposition.default
# FFmpeg's reading of a file's head alone. Otherwise it decodes a frame to learn what the decoder will tell anyway, and
# up to 20 to guess the frame rate of a file that announces it.
_HEAD_ALONE = {"fpsprobesize": "0", "probesize": "20000", "skip_frame": "all"}
_HEAD_BYTES = 12
_WIDEST_PIXEL = 4  # sample aspect ratios beyond it, or below its inverse, are mistakes of the file
_SPECIAL_FILES: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a pipe, and a video is read twice; save it to a file and name the file"),
    (stat.S_ISSOCK, "a socket, not a video file; save the video to a file and name the file"),
    (stat.S_ISCHR, "a device, not a video file; record a file, or send a camera's frames with Client.stream()"),
    (stat.S_ISBLK, "a device, not a video file; mount it and name the file on it"),
)


@dataclass(frozen=True)
class _Layout:
    """How clips lie in a source; see eulernet_core.clip_geometry."""

    clips: int
    frames: int
    interval: int
    at_keyframes: bool = False

    def plan(self, times_s: Sequence[float], keyframes: Sequence[int] = ()) -> list[list[int]]:
        return timed_clips(times_s, self.clips, self.frames, self.interval, keyframes)

    def gather(
        self, plan: list[list[int]], times_s: Sequence[float], items: Iterator[tuple[int, T]], first_number: int = 0
    ) -> Iterator[Clip[T]]:
        for clip in gather_clips(plan, items, first_number):
            warning = spacing_warning(clip.indices, [times_s[index] for index in clip.indices], self.interval)
            yield replace(clip, warning=warning)


def read_clips(
    path: Path,
    clips: int,
    convert: Callable[[VideoFrame], T],
    frames: int = CLIP_FRAMES,
    interval: int = FRAME_INTERVAL,
    threads: int = 0,
    at_keyframes: bool = False,
) -> Iterator[Clip[T]]:
    """The clips of a video, one at a time; their frames are chosen by time, whatever the video's frame rate.

    Args:
        path: a video file.
        clips: how many, spread evenly.
        convert: makes an item of a decoded frame, such as `upright`.
        frames: of one clip.
        interval: time between a clip's frames, in frames of a video with NOMINAL_FPS.
        threads: of the decoder, 0 for as many as FFmpeg likes.
        at_keyframes: begin the clips at keyframes near their places, which takes less decoding; see `timed_clips`.
            Clips for which the video must be decoded from its beginning keep their places.
    Raises:
        MediaError: the file can't be opened, holds no pictures, or fewer than a clip needs.
    """
    layout = _Layout(clips, frames, interval, at_keyframes)
    done = 0
    with named_errors(path):
        try:
            for clip in _indexed_clips(path, layout, convert, threads):
                yield clip
                done += 1
            return
        except IndexWrongError:
            pass
        times = _decoded_times(path, threads)
        if not times:
            raise NotAVideoError(f"{path}: none of its frames can be decoded; {_WHAT_TO_GIVE}")
        plan = layout.plan(times)
        if not plan:
            raise TooFewFramesError(f"{path}: {too_short(times, frames, interval)}")
        wanted = {index for indices in plan[done:] for index in indices}
        with open_video(path, threads) as (container, stream):
            decoded = enumerate(decoded_frames(container, stream))
            counted = ((i, convert(_displayed(frame, stream))) for i, frame in decoded if i in wanted)
            yield from layout.gather(plan[done:], times, counted, done)


def read_frames(path: Path, convert: Callable[[VideoFrame], T], threads: int = 0) -> Iterator[T]:
    """Every frame of a video, in order; one at a time is held.

    Raises:
        MediaError: the file can't be opened or holds no pictures.
    """
    with named_errors(path), open_video(path, threads) as (container, stream):
        for frame in decoded_frames(container, stream):
            yield convert(_displayed(frame, stream))


def read_spaced_frames(path: Path, convert: Callable[[VideoFrame], T], threads: int = 0) -> Iterator[T]:
    """Frames of a video a tenth of a second apart, from the first one, as a stream of clips' frames would be.

    Raises:
        MediaError: the file can't be opened or holds no pictures.
    """
    due = 0.0
    with named_errors(path), open_video(path, threads) as (container, stream):
        half_a_frame = 0.5 / announced_rate(stream)
        for time, frame in running_times(stream, decoded_frames(container, stream)):
            if time >= due - half_a_frame:
                due = max(due, time - half_a_frame) + FRAME_SPACING_S
                yield convert(_displayed(frame, stream))


def video_times(path: Path, threads: int = 0) -> list[float]:
    """When each frame of a video is shown, s after the first one.

    Raises:
        MediaError: the file can't be opened or holds no pictures.
    """
    with named_errors(path):
        try:
            with open_video(path, threads) as (container, stream):
                return frame_times(stream, read_index(container, stream).pts)
        except IndexWrongError:
            return _decoded_times(path, threads)


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
        return sum(1 for _ in frame_packets(container, stream))


def upright(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """A decoded frame as players show it, turned by the display matrix that phones write: uint8 (H, W, 3), RGB.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] (ISO/IEC 14496-12) sends the stored pixel (p, q) to
    (a p + c q, b p + d q). Phones turn by quarters, so its signs and its larger diagonal tell all.
    """
    picture = _rgb(frame)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    sideways = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if sideways else (a, d)
    turned = picture.transpose(1, 0, 2) if sideways else picture
    turned = turned[:, ::-1] if across < 0 else turned
    return np.ascontiguousarray(turned[::-1] if down < 0 else turned)


def _address(path: Path) -> str | None:
    """Error text for a missing path that is an address or standard input, else None."""
    if str(path) == "-":
        return "-: standard input can't be scored; save it to a file and name the file"
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", str(path), re.DOTALL)
    if found is None:
        return None
    address = f"{found[1]}://{found[2]}"  # a Path has lost the second slash
    return f"{address}: an address, and only files are read; download it, or send its frames with Client.stream()"


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Inside the block, an error of the operating system or of FFmpeg becomes a MediaError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        if (address := _address(path)) is not None:
            raise NotAFileError(address) from error
        raise MissingFileError(f"{path}: no such file or folder; check the path") from error
    except PermissionError as error:
        raise UnreadableFileError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
    except FFmpegError as error:
        raise NotAVideoError(f"{path}: not a video that can be read ({error.strerror}); {_WHAT_TO_GIVE}") from error
    except OSError as error:
        raise UnreadableFileError(f"{path}: can't be read ({error.strerror}); check the path and the disk") from error


_thread = threading.local()


def _rgb(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3). The tables of a conversion serve all frames of a thread; they take as long as a small frame."""
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    return np.asarray(_thread.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)


@contextmanager
def open_video(
    path: Path, threads: int = 0, options: dict[str, str] | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens the file and finds its pictures. Only local files: a playlist may not make FFmpeg call the network.

    Args:
        path: a file.
        threads: of the decoder, 0 for as many as FFmpeg likes.
        options: FFmpeg's, for the container.
    Raises:
        NotAVideoError: nothing that can be decoded; NotAFileError: a pipe or a device; OSError as the system raises it.
    """
    found = path.stat()
    for is_kind, what in _SPECIAL_FILES:
        if is_kind(found.st_mode):
            raise NotAFileError(f"{path}: {what}")
    if found.st_size == 0:
        raise NotAVideoError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file", **(options or {})}, **_LENIENT)
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
        stream = _playing_track(path, container)
        stream.thread_type = "AUTO"
        if threads:
            stream.codec_context.thread_count = threads
        yield container, stream


def _playing_track(path: Path, container: InputContainer) -> VideoStream:
    """The track that a player shows: marked as default, else the one with the most pixels; never a cover picture."""
    streams = [s for s in container.streams.video if not s.disposition & (_COVER | _THUMBNAILS)]
    if container.format.name == "tty" or not streams:
        kinds: list[str] = sorted({str(s.type) for s in container.streams} - {"video"})
        what = "text" if container.format.name == "tty" else f"only {', '.join(kinds) or 'no stream'}"
        raise NotAVideoError(f"{path}: no pictures in this file ({what}); {_WHAT_TO_GIVE}")
    streams = [s for s in streams if s.codec_context is not None]
    if not streams:
        raise NotAVideoError(f"{path}: its pictures are in a format that FFmpeg here can't decode; {_WHAT_TO_GIVE}")
    return max(streams, key=lambda s: (bool(s.disposition & _DEFAULT), s.width * s.height))


def _displayed(frame: VideoFrame, stream: VideoStream) -> VideoFrame:
    """The frame with square pixels: the side along which its pixels are longer is enlarged, before any rotation."""
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
        return frame
    width, height = round(frame.width * max(aspect, 1)), round(frame.height / min(aspect, 1))
    if (width, height) == (frame.width, frame.height):
        return frame
    return frame.reformat(width=width, height=height, interpolation="BICUBIC")


def _indexed_clips(path: Path, layout: _Layout, convert: Callable[[VideoFrame], T], threads: int) -> Iterator[Clip[T]]:
    with _indexed(path, threads) as (container, stream, index):
        refuse_damage(stream)
        times = frame_times(stream, index.pts)
        plan = layout.plan(times, index.key_numbers() if layout.at_keyframes else ())
        if not plan:
            # The decoder has the last word on how many frames there are.
            raise IndexWrongError
        found = chosen_frames(container, stream, index, sorted({number for numbers in plan for number in numbers}))
        yield from layout.gather(plan, times, ((i, convert(_displayed(frame, stream))) for i, frame in found))


@contextmanager
def _indexed(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream, FrameIndex]]:
    """Opens a video with its index. Raises: IndexWrongError, and what `open_video` raises."""
    head = _head(path)
    if _is_mp4(head) or _is_avi(head):
        with open_video(path, threads, _HEAD_ALONE) as (container, stream):
            index = None
            with suppress(IndexWrongError):
                index = read_index(container, stream)
            # AVI has no times of display: FFmpeg needs no guess where a codec stores frames in that order.
            if index and (index.keeps_order or _is_mp4(head)) and stamped_times(stream, index.pts):
                yield container, stream, index
                return
    with open_video(path, threads) as (container, stream):
        yield container, stream, read_index(container, stream)


def _decoded_times(path: Path, threads: int) -> list[float]:
    with open_video(path, threads) as (container, stream):
        return frame_times(stream, [frame.pts for frame in decoded_frames(container, stream)])


def _head(path: Path) -> bytes:
    """The first bytes, by which FFmpeg knows a format; none of a file that is no regular one, which is not read."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_avi(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:] == b"AVI "


def _is_mp4(head: bytes) -> bool:
    """Also MOV (ISO/IEC 14496-12)."""
    return head[4:8] == b"ftyp"


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
