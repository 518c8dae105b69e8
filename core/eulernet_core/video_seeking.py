# SPDX-License-Identifier: Apache-2.0
"""Decodes chosen frames of a video by its index, to the same pixels as a decoder that reads the video from its start.

Decoding begins at the keyframe before the first wanted frame and ends with the packet of the last one. A frame between
them is decoded only if another one may refer to it. Every decoded frame is checked against the index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from av.error import FFmpegError

from eulernet_core.h264_units import H264Units
from eulernet_core.video_index import H264, FrameIndex, IndexWrongError, Key, stored_packets

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_NEAR_PACKETS = 30  # reading on costs less than seeking


@dataclass
class _Run:
    """Frames that are decoded together. `wanted`: places of their packets; `last`: the last of these places."""

    key: Key
    wanted: set[int]
    last: int


def refuse_damage(stream: VideoStream) -> None:
    """Makes a decoder that is not open yet raise errors at a damaged frame, instead of repairing it.

    The repairs depend on the frames that were decoded before. Some damage is repaired nevertheless.
    """
    stream.codec_context.options = {"err_detect": "explode"}


def chosen_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: list[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """The wanted frames, in order, each with its number.

    Args:
        container, stream: as `index` was read from them.
        index: of this video.
        wanted: numbers of shown frames, from 0, ascending.
    Raises:
        IndexWrongError: a decoded frame is not the announced one, or a packet can't be decoded.
    """
    numbers: dict[int | None, int] = {pts: number for number, pts in enumerate(index.pts)}
    chosen = set(wanted)
    reader = _PacketReader(container, stream, index)
    for run in _runs(index, wanted):
        for frame in _decoded(reader, stream, index, run):
            number = numbers[frame.pts]
            if number in chosen:
                yield number, frame


def _runs(index: FrameIndex, wanted: list[int]) -> Iterator[_Run]:
    """Raises: IndexWrongError where a frame has no keyframe before it."""
    places = {each.pts: place for place, each in enumerate(index.packets) if each.shown}
    run: _Run | None = None
    for number in wanted:
        place = places[index.pts[number]]
        key = index.key_before(place)
        # Decoding goes on through the next keyframe where it follows at once, or where the run reaches behind it.
        if run is None or key.place > run.last + 1:
            if run is not None:
                yield run
            run = _Run(key, {place}, place)
        elif key.place < run.key.place:
            raise IndexWrongError  # shown behind a keyframe and stored before it: seen in no sound file
        else:
            run.wanted.add(place)
            run.last = max(run.last, place)
    if run is not None:
        yield run


class _PacketReader:
    """Reads packets by their places, and checks each against the index."""

    def __init__(self, container: InputContainer, stream: VideoStream, index: FrameIndex) -> None:
        self._container, self._stream, self._index = container, stream, index
        self._coming: Iterator[Packet[VideoStream]] = iter(())
        self._place: int | None = None  # of the next packet
        self._found: Packet[VideoStream] | None = None  # that packet, if it has been read

    def go_to(self, key: Key) -> None:
        """Makes a keyframe the next packet, and clears the decoder. Raises: IndexWrongError."""
        if self._place is not None and 0 <= key.place - self._place <= _NEAR_PACKETS:
            self._stream.codec_context.flush_buffers()
            while self._place < key.place:
                self.next()
            return
        try:
            self._container.seek(key.seek, stream=self._stream, backward=True)  # clears the decoder, too
        except FFmpegError as error:
            raise IndexWrongError from error
        self._coming, self._place = stored_packets(self._container, self._stream), key.place
        for packet in self._coming:
            if packet.is_keyframe and self._is_next(packet):
                self._found = packet
                return
        raise IndexWrongError

    def next(self) -> Packet[VideoStream]:
        """Raises: IndexWrongError where the file has another packet than the index."""
        packet, self._found = self._found or next(self._coming, None), None
        if packet is None or self._place is None or not self._is_next(packet):
            raise IndexWrongError
        self._place += 1
        return packet

    def _is_next(self, packet: Packet[VideoStream]) -> bool:
        if self._place is None or self._place >= len(self._index.packets):
            return False
        stored = self._index.packets[self._place]
        return (packet.pts, packet.size) == (stored.pts, stored.size)


def _decoded(reader: _PacketReader, stream: VideoStream, index: FrameIndex, run: _Run) -> Iterator[VideoFrame]:
    """The frames of a run that are shown at its keyframe or later. Raises: IndexWrongError."""
    codec = stream.codec_context
    units = H264Units(codec.extradata) if codec.name == H264 else None
    due: list[int] = []  # a heap: time stamps that the decoder was given and has not returned
    reader.go_to(run.key)
    for place in range(run.key.place, run.last + 1):
        packet, stored = reader.next(), index.packets[place]
        passable = place not in run.wanted and place != run.key.place
        if passable and units is not None and units.is_unreferenced(bytes(packet)):
            continue
        if stored.shown and stored.pts is not None and stored.pts >= run.key.pts:
            heappush(due, stored.pts)
        yield from _checked(_decode(stream, packet), due, run.key)
    yield from _checked(_decode(stream, None), due, run.key)
    if due:
        raise IndexWrongError


def _decode(stream: VideoStream, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """`packet`: None for the frames that the decoder still holds."""
    try:
        return stream.decode(packet)
    except FFmpegError as error:
        raise IndexWrongError from error


def _checked(frames: list[VideoFrame], due: list[int], key: Key) -> Iterator[VideoFrame]:
    """Passes on the frames if they are those due next. FFmpeg holds back pictures that are not whole yet."""
    for frame in frames:
        if frame.pts is not None and frame.pts < key.pts:
            continue  # refers to frames before the keyframe: decoders differ on whether to show it
        if not due or frame.pts != heappop(due):
            raise IndexWrongError
        yield frame
