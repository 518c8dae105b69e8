# SPDX-License-Identifier: Apache-2.0
"""The frames that a video's packets announce: their times, their places in the file, and the keyframes before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from av.error import FFmpegError

from eulernet_core.clip_geometry import NOMINAL_FPS
from eulernet_core.h264_units import H264Units

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_FPS = 1000.0  # a higher frame rate is a mistake of the file
H264, MOTION_JPEG = "h264", "mjpeg"  # FFmpeg's names of codecs


class IndexWrongError(Exception):
    """The decoder's frames differ from the frames that the packets announced."""


@dataclass(frozen=True)
class StoredPacket:
    """A packet that is not empty. `shown`: whether a frame of its `pts` is shown."""

    pts: int | None
    size: int
    shown: bool


@dataclass(frozen=True)
class Key:
    """A keyframe. `place`: in the order of the packets; `seek`: the time stamp to seek for it."""

    place: int
    pts: int
    seek: int


@dataclass(frozen=True)
class FrameIndex:
    """All packets of a video.

    Attributes:
        pts: of the shown frames, ascending.
        packets: in the order of the file.
        keys: in the order of the file.
        keeps_order: whether the codec can't store frames in another order than they are shown in.
    """

    pts: list[int]
    packets: list[StoredPacket]
    keys: list[Key]
    keeps_order: bool

    def key_numbers(self) -> list[int]:
        """The numbers of the shown frames that are keyframes, ascending."""
        stamps = {key.pts for key in self.keys}
        return [number for number, pts in enumerate(self.pts) if pts in stamps]

    def key_before(self, place: int) -> Key:
        """The last keyframe from which the frame of a packet can be decoded.

        Raises: IndexWrongError if there is none.
        """
        pts = self.packets[place].pts
        for key in reversed(self.keys[: bisect_right(self.keys, place, key=lambda key: key.place)]):
            if pts is not None and key.pts <= pts:  # a keyframe that is shown later says nothing about this frame
                return key
        raise IndexWrongError


def is_shown(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether a packet announces a frame."""
    return packet.size > 0 and not packet.is_discard and not _hidden(packet, stream)


def stored_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets that are not empty, up to the first broken place."""
    try:
        for packet in container.demux(stream):
            if packet.size > 0:
                yield packet
    except FFmpegError:
        pass  # cut short: the frames before this place count


def frame_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets that announce a frame, up to the first broken place."""
    return (packet for packet in stored_packets(container, stream) if is_shown(packet, stream))


def read_index(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Reads all packets. Raises: IndexWrongError."""
    order = _StoredOrder(stream)
    packets: list[StoredPacket] = []
    keys: list[Key] = []
    for packet in stored_packets(container, stream):
        shown = is_shown(packet, stream)
        if shown and packet.pts is None:
            raise IndexWrongError
        if packet.is_keyframe and packet.pts is not None:
            before = packet.pts if packet.dts is None else packet.dts
            keys.append(Key(len(packets), packet.pts, min(packet.pts, before)))
            order.see(packet)
        packets.append(StoredPacket(packet.pts, packet.size, shown))
    pts = sorted(each.pts for each in packets if each.shown and each.pts is not None)
    if not keys or any(a == b for a, b in pairwise(pts)):
        raise IndexWrongError
    return FrameIndex(pts, packets, keys, order.kept)


class _StoredOrder:
    """Whether a stream's frames are stored in the order in which they are shown, as far as its codec guarantees it."""

    def __init__(self, stream: VideoStream) -> None:
        codec = stream.codec_context
        self._units = H264Units(codec.extradata) if codec.name == H264 else None
        self._said: set[bool | None]
        self._said = {self._units.keeps_order(codec.extradata or b"")} if self._units else {codec.name == MOTION_JPEG}

    def see(self, keyframe: Packet[VideoStream]) -> None:
        if self._units:
            self._said.add(self._units.keeps_order(bytes(keyframe)))

    @property
    def kept(self) -> bool:
        return self._said - {None} == {True}


def frame_times(stream: VideoStream, pts: Sequence[int | None]) -> list[float]:
    """When each frame is shown, s after the first one.

    Time stamps that are missing, don't ascend or claim more than MAX_FPS are not believed: the frames then follow each
    other at the rate that the video announces.
    """
    if times := stamped_times(stream, pts):
        return times
    rate = announced_rate(stream)
    return [number / rate for number in range(len(pts))]


def stamped_times(stream: VideoStream, pts: Sequence[int | None]) -> list[float]:
    """`frame_times` by time stamps; empty if they are not believed."""
    known = [each for each in pts if each is not None]
    if stream.time_base and len(known) == len(pts) > 1 and all(a < b for a, b in pairwise(known)):
        # The quotient of two integers is rounded once, as that of a Fraction, which takes ten times as long.
        numerator, denominator = stream.time_base.numerator, stream.time_base.denominator
        times = [(each - known[0]) * numerator / denominator for each in known]
        if (len(times) - 1) / times[-1] <= MAX_FPS:
            return times
    return []


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


def decoded_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames from the present position on; a packet that cannot be decoded is passed over, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError:  # cut short: the decoder still holds the last frames before this place
            with suppress(FFmpegError):
                yield from stream.decode(None)
            break
        try:
            yield from stream.decode(packet)
        except FFmpegError:
            continue


def _hidden(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """VP8 has separate packets for frames that are only referred to (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
