"""Takes single frames out of a video with PyAV (FFmpeg), upright, as JPEGs.

Reads the packets once for their time stamps, then seeks and decodes only what the clips need. The frames that come out
are checked against that index; where they disagree, the video is decoded from its beginning and the frames are counted.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import simplejpeg
from av.error import FFmpegError

from eulernet_client._media import SourceClip, SourceFrame, assemble, clip_indices, clip_starts, too_few
from eulernet_client.errors import NotAVideoError, TruncatedVideoError

if TYPE_CHECKING:
    import numpy.typing as npt
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

JPEG_QUALITY = 95
_WHAT_TO_GIVE = "give an MP4, MOV, AVI or WebM video, or a folder of JPEGs"


class _IndexWrongError(Exception):
    """The frames that the decoder gives are not those that the packets announced."""


@dataclass(frozen=True)
class _Index:
    """`times`: pts of all frames, ascending. `key_times`: pts of the keyframes; `key_seeks`: where to seek for each."""

    times: list[int]
    key_times: list[int]
    key_seeks: list[int]


def video_clips(path: Path, clips: int) -> Iterator[SourceClip]:
    """The clips of a video file; see `_media.iter_clips`."""
    done = 0
    try:
        for clip in _indexed_clips(path, clips):
            yield clip
            done += 1
        return
    except _IndexWrongError:
        pass
    frame_count = sum(1 for _ in _decode_all(path))
    if frame_count == 0:
        raise NotAVideoError(f"{path}: none of its frames can be decoded; {_WHAT_TO_GIVE}")
    starts = clip_starts(frame_count, clips)
    if not starts:
        raise too_few(path, frame_count)
    wanted = _wanted(starts[done:])
    counted = (_source_frame(i, frame) for i, frame in enumerate(_decode_all(path)) if i in wanted)
    yield from assemble(starts[done:], counted, done)


def _wanted(starts: list[int]) -> set[int]:
    return {index for start in starts for index in clip_indices(start)}


def _indexed_clips(path: Path, clips: int) -> Iterator[SourceClip]:
    with _open(path) as (container, stream):
        index = _read_index(container, stream)
        starts = clip_starts(len(index.times), clips)
        if not starts:
            # The decoder has the last word on how many frames there are.
            raise _IndexWrongError
        yield from assemble(starts, _seek_frames(container, stream, index, sorted(_wanted(starts))))


def _read_index(container: InputContainer, stream: VideoStream) -> _Index:
    times, keys = [], []
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard or _hidden(packet, stream):
                continue
            if packet.pts is None:
                raise _IndexWrongError
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append((packet.pts, min(packet.pts, packet.pts if packet.dts is None else packet.dts)))
    except FFmpegError:
        pass  # cut short: what was read until here counts
    times.sort()
    keys.sort()
    if not keys or any(a == b for a, b in pairwise(times)):
        raise _IndexWrongError
    return _Index(times, [key[0] for key in keys], [key[1] for key in keys])


def _hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """VP8 keeps frames that are only referred to in packets of their own (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10


def _seek_frames(
    container: InputContainer, stream: VideoStream, index: _Index, wanted: list[int]
) -> Iterator[SourceFrame]:
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
                yield _source_frame(target, frame)
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


def _decode_all(path: Path) -> Iterator[VideoFrame]:
    with _open(path) as (container, stream):
        yield from _decode(container, stream)


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens the file and finds its pictures. Only local files: a playlist may not make FFmpeg call the network."""
    if path.stat().st_size == 0:
        raise NotAVideoError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        # Titles and other metadata need not be UTF-8.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except PermissionError:
        raise
    except FFmpegError as error:
        if _lacks_moov(path):
            raise TruncatedVideoError(
                f"{path}: the file ends before its index (moov box), so it was cut short while recording or copying; "
                "copy or record it again"
            ) from error
        raise NotAVideoError(f"{path}: not a video that can be read ({error.strerror}); {_WHAT_TO_GIVE}") from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if container.format.name == "tty" or not streams:
            kinds: list[str] = sorted({str(s.type) for s in container.streams} - {"video"})
            what = "text" if container.format.name == "tty" else f"only {', '.join(kinds) or 'no stream'}"
            raise NotAVideoError(f"{path}: no pictures in this file ({what}); {_WHAT_TO_GIVE}")
        if streams[0].codec_context is None:
            raise NotAVideoError(f"{path}: its pictures are in a format that FFmpeg here can't decode; {_WHAT_TO_GIVE}")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


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


def _source_frame(index: int, frame: VideoFrame) -> SourceFrame:
    return SourceFrame(index, f"frame {index}", encode_jpeg(upright(frame)))


def upright(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """The picture as a player shows it: uint8 (H, W, 3), RGB, turned by the display matrix that phones write.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] sends the stored pixel (p, q) to (a p + c q, b p + d q); only its signs
    and whether it swaps the axes matter here.
    """
    picture: npt.NDArray[np.uint8] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return picture
    (a, b, _), (c, d, _) = np.frombuffer(data, np.int32).reshape(3, 3)[:2].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture = picture.transpose(1, 0, 2)
        flip_columns, flip_rows = c < 0, b < 0
    else:
        flip_columns, flip_rows = a < 0, d < 0
    return picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def encode_jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """picture: uint8 (H, W, 3), RGB."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return encoded
