# SPDX-License-Identifier: Apache-2.0
"""The frames that a video's packets announce, their times, and seeking: only the frames of the clips are decoded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from av.error import FFmpegError

from eulernet_core.clip_geometry import NOMINAL_FPS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_FPS = 1000.0  # a higher frame rate is a mistake of the file


class IndexWrongError(Exception):
    """The decoder's frames differ from the frames that the packets announced."""


@dataclass(frozen=True)
class FrameIndex:
    """`pts` of all frames, ascending. `key_pts`: of the keyframes; `key_seeks`: where to seek for each."""

    pts: list[int]
    key_pts: list[int]
    key_seeks: list[int]


def frame_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets that announce a frame, up to the first broken place."""
    try:
        for packet in container.demux(stream):
            if packet.size > 0 and not packet.is_discard and not _hidden(packet, stream):
                yield packet
    except FFmpegError:
        pass  # cut short: the frames before this place count


def read_index(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Reads all packets. Raises: IndexWrongError."""
    pts, keys = [], []
    for packet in frame_packets(container, stream):
        if packet.pts is None:
            raise IndexWrongError
        pts.append(packet.pts)
        if packet.is_keyframe:
            keys.append((packet.pts, min(packet.pts, packet.pts if packet.dts is None else packet.dts)))
    pts.sort()
    keys.sort()
    if not keys or any(a == b for a, b in pairwise(pts)):
        raise IndexWrongError
    return FrameIndex(pts, [key[0] for key in keys], [key[1] for key in keys])


def frame_times(stream: VideoStream, pts: Sequence[int | None]) -> list[float]:
    """When each frame is shown, s after the first one.

    Time stamps that are missing, don't ascend or claim more than MAX_FPS are not believed: the frames then follow each
    other at the rate that the video announces.
    """
    known = [each for each in pts if each is not None]
    if stream.time_base and len(known) == len(pts) > 1 and all(a < b for a, b in pairwise(known)):
        times = [float((each - known[0]) * stream.time_base) for each in known]
        if (len(times) - 1) / times[-1] <= MAX_FPS:
            return times
    rate = announced_rate(stream)
    return [number / rate for number in range(len(pts))]


def running_times(stream: VideoStream, frames: Iterator[VideoFrame]) -> Iterator[tuple[float, VideoFrame]]:
    """`frame_times` of frames in order, one at a time; a time stamp that does not ascend becomes the next step."""
    step = 1 / announced_rate(stream)
    time, origin = -step, None
    for frame in frames:
        before, time = time, time + step
        if frame.pts is not None and frame.time_base:
            stamp = float(frame.pts * frame.time_base)
            origin = stamp if origin is None else origin
            time = stamp - origin if stamp - origin > before else time
        yield time, frame


def announced_rate(stream: VideoStream) -> float:
    """Frames/s by FFmpeg's guess, which needs no good time stamps; NOMINAL_FPS if it is none that can be true."""
    rate = float(stream.guessed_rate or stream.average_rate or NOMINAL_FPS)
    return rate if 0 < rate <= MAX_FPS else float(NOMINAL_FPS)


def seek_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames, in order; seeks wherever a keyframe lies between the present position and the next one.

    Raises:
        IndexWrongError: a decoded frame is not the announced one.
    """
    order = {time: i for i, time in enumerate(index.pts)}
    frames: Iterator[VideoFrame] = iter(())
    position: int | None = None  # the frame decoded last
    for target in wanted:
        key = bisect_right(index.key_pts, index.pts[target]) - 1
        if key < 0:
            raise IndexWrongError
        if position is None or order[index.key_pts[key]] > position + 1:
            try:
                container.seek(index.key_seeks[key], stream=stream, backward=True)
            except FFmpegError as error:
                raise IndexWrongError from error
            frames, position = decoded_frames(container, stream), None
        for frame in frames:
            here = None if frame.pts is None else order.get(frame.pts)
            if here is None or here > target or (position is not None and here != position + 1):
                raise IndexWrongError
            position = here
            if here == target:
                yield target, frame
                break
        else:
            raise IndexWrongError


def decoded_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
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


def _hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """VP8 has separate packets for frames that are only referred to (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
