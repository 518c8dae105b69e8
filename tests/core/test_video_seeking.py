# SPDX-License-Identifier: Apache-2.0
"""Frames decoded from the nearest keyframe, without the frames between: the same pixels as a full decode gives."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from eulernet_core import video, video_index, video_seeking
from eulernet_core.h264_units import H264Units
from eulernet_core.video import read_clips, upright
from eulernet_core.video_index import IndexWrongError, read_index
from tests.numbered_media import write_video

FRAMES = 57
HIERARCHY = "b-adapt=0:bframes=3:b-pyramid=normal:scenecut=0"  # I B b B P: only the middle B is referred to
Pictures = list[NDArray[np.uint8]]

_TEXTURE = np.random.default_rng(0).integers(0, 256, (130, 146), np.uint8)


def moving(number: int) -> NDArray[np.uint8]:
    """Texture that moves, with grain: every frame is predicted from others, and no two are equal."""
    grain = np.random.default_rng(number).integers(-9, 10, (80, 96))
    part = _TEXTURE[number % 50 : number % 50 + 80, number % 50 : number % 50 + 96]
    grey = np.clip(part + grain, 0, 255).astype(np.uint8)
    return np.stack([grey, 255 - grey, np.roll(grey, number, 1)], -1)


def x264(parameters: str, **others: str) -> dict[str, object]:
    return {"options": {"preset": "veryfast", "threads": "1", "x264-params": parameters, **others}}


def x265(parameters: str) -> dict[str, object]:
    return {"options": {"preset": "ultrafast", "x265-params": f"{parameters}:keyint=24:bframes=3:log-level=none"}}


RNG = np.random.default_rng(1)
GROUPS = f"keyint=24:min-keyint=24:{HIERARCHY}"
# name -> codec, options of write_video, whether the index is enough (else the video is decoded from its start)
KINDS: dict[str, tuple[str, dict[str, object], bool]] = {
    "hierarchy.mp4": ("libx264", x264(GROUPS), True),
    "one-keyframe.mp4": ("libx264", x264(f"keyint=1000:{HIERARCHY}"), True),
    "open-gop.mp4": ("libx264", x264(f"open-gop=1:{GROUPS}"), True),
    "no-b-frames.mp4": ("libx264", x264("keyint=24:min-keyint=24:bframes=0:ref=3"), True),
    "skipped-references.mp4": ("libx264", x264("keyint=24:bframes=0:ref=4:weightp=2:scenecut=0"), True),
    "slices.mp4": ("libx264", x264(f"slices=4:{GROUPS}"), True),
    "fields.mp4": ("libx264", x264(f"tff=1:{GROUPS}"), True),
    "cavlc.mp4": ("libx264", x264("keyint=24:bframes=0:cabac=0:8x8dct=0", profile="baseline"), True),
    "intra-refresh.mp4": ("libx264", x264("intra-refresh=1:keyint=24:bframes=0:scenecut=0"), False),
    "changing-rate.mp4": (
        "libx264",
        {**x264(GROUPS), "times_ms": [0, *accumulate(RNG.integers(15, 60, FRAMES - 1).tolist())]},
        True,
    ),
    "late-start.mp4": ("libx264", {**x264(GROUPS), "times_ms": [5000 + 33 * n for n in range(FRAMES)]}, True),
    "late-start.mkv": ("libx264", {**x264(GROUPS), "times_ms": [5000 + 33 * n for n in range(FRAMES)]}, True),
    "rotated.mov": ("libx264", {**x264(GROUPS), "rotation": -90}, True),
    "fragments.mp4": (
        "libx264",
        {**x264(GROUPS), "container_options": {"movflags": "frag_keyframe+empty_moov"}},
        True,
    ),
    "broadcast.ts": ("libx264", x264(GROUPS), True),
    "flash.flv": ("libx264", x264(GROUPS), True),
    "in-order.avi": ("libx264", x264("keyint=24:bframes=0"), True),
    "reordered.avi": ("libx264", x264(GROUPS), False),
    "raw.h264": ("libx264", x264(GROUPS), False),
    "hevc.mp4": ("libx265", x265("open-gop=0"), True),
    "hevc-open.mp4": ("libx265", x265("open-gop=1"), True),
    "vp9.webm": ("libvpx-vp9", {"options": {"deadline": "realtime", "cpu-used": "8", "g": "24"}}, True),
    "xvid.mp4": ("mpeg4", {"options": {"bf": "2", "g": "24", "sc_threshold": "1000000000"}}, True),
    "xvid.avi": ("mpeg4", {"options": {"bf": "2", "g": "24", "sc_threshold": "1000000000"}}, True),
    "intra.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}, True),
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Encodes the video of a kind, once."""
    folder = tmp_path_factory.mktemp("videos")

    def made(name: str) -> Path:
        codec, options, _ = KINDS[name]
        path = folder / name
        return path if path.exists() else write_video(path, FRAMES, codec, picture=moving, **options)  # type: ignore[arg-type]

    return made


def full_decode(path: Path) -> Pictures:
    """Every frame, as plain PyAV gives them."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sought(path: Path, wanted: list[int], threads: int = 1) -> Pictures:
    """The wanted frames by the index alone."""
    with video.open_video(path, threads) as (container, stream):
        found = list(video_seeking.chosen_frames(container, stream, read_index(container, stream), wanted))
    assert [number for number, _ in found] == wanted
    return [frame.to_ndarray(format="rgb24") for _, frame in found]


def shown_in_order(pictures: Pictures, frames: Pictures) -> bool:
    """Whether pictures are some of the frames, in their order."""
    numbers = [next((n for n, frame in enumerate(frames) if np.array_equal(frame, each)), -1) for each in pictures]
    return -1 not in numbers and numbers == sorted(numbers)


def equal(a: Pictures, b: Pictures) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("name", "starts"), [("hierarchy.mp4", [24]), ("one-keyframe.mp4", [0])])
def test_clips_at_keyframes_begin_there(name: str, starts: list[int], make: Callable[[str], Path]) -> None:
    path = make(name)
    whole = full_decode(path)
    found = list(read_clips(path, 1, upright, threads=1, at_keyframes=True))
    assert [clip.indices[0] for clip in found] == starts
    for clip in found:
        assert equal(list(clip.items), [whole[number] for number in clip.indices])


def test_a_file_without_a_good_index_keeps_the_places_of_its_clips(make: Callable[[str], Path]) -> None:
    path = make("reordered.avi")
    plain, at_keyframes = (list(read_clips(path, 2, upright, threads=1, at_keyframes=each)) for each in (False, True))
    assert [clip.indices for clip in at_keyframes] == [clip.indices for clip in plain]


@pytest.mark.parametrize("name", [name for name, (_, _, indexed) in KINDS.items() if indexed])
def test_sought_frames_are_those_of_a_full_decode(name: str, make: Callable[[str], Path]) -> None:
    path = make(name)
    whole = full_decode(path)
    assert len(whole) == FRAMES
    draw = random.Random(name)
    choices = [[0], [FRAMES - 1], [*range(0, 10, 3)], [22, 23, 24, 25], [15, 25, 35, 45, 55]]
    choices += [sorted(draw.sample(range(FRAMES), draw.randint(1, 12))) for _ in range(4)]
    for wanted in choices:
        assert equal(sought(path, wanted), [whole[number] for number in wanted]), wanted
    assert equal(sought(path, [*range(5, FRAMES, 7)], threads=3), whole[5::7])


@pytest.mark.parametrize("name", KINDS)
def test_clips_are_those_of_a_full_decode(name: str, make: Callable[[str], Path]) -> None:
    path = make(name)
    whole = full_decode(path)
    turn = 3 if name == "rotated.mov" else 0  # counter-clockwise quarters
    for clips in (1, 20):
        found = list(read_clips(path, clips, upright, threads=1))
        assert 1 <= len(found) <= clips
        for clip in found:
            assert equal(list(clip.items), [np.rot90(whole[number], turn) for number in clip.indices])


@pytest.mark.parametrize("name", [name for name, (_, _, indexed) in KINDS.items() if not indexed])
def test_a_file_that_the_index_does_not_describe_is_seen_through(name: str, make: Callable[[str], Path]) -> None:
    with pytest.raises(IndexWrongError):
        sought(make(name), [*range(30, FRAMES)])


def sent_packets(path: Path, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the frames whose packets reach the decoder."""
    times: list[int] = []
    decode = video_seeking._decode

    def counted(stream, packet):
        times.extend([] if packet is None else [packet.pts])
        return decode(stream, packet)

    monkeypatch.setattr(video_seeking, "_decode", counted)
    sought(path, wanted)
    with video.open_video(path) as (container, stream):
        numbers = {pts: number for number, pts in enumerate(read_index(container, stream).pts)}
    return sorted(numbers[time] for time in times)


@pytest.mark.parametrize(
    ("name", "wanted", "sent"),
    [
        # Groups of I b B b P: frame 24 is a keyframe; 26 and 30 are the Bs that others refer to.
        ("hierarchy.mp4", [27, 30], [24, 26, 27, 28, 30, 32]),
        ("hierarchy.mp4", [24], [24]),
        ("hierarchy.mp4", [25, 49], [24, 25, 26, 28, 48, 49, 50, 52]),  # two groups, and nothing between
        ("no-b-frames.mp4", [50, 53], [48, 49, 50, 51, 52, 53]),
        ("intra.avi", [3, 40], [3, 40]),
    ],
)
def test_nothing_needless_is_decoded(
    name: str, wanted: list[int], sent: list[int], make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent_packets(make(name), wanted, monkeypatch) == sent


def test_every_kind_of_frame_is_seen_by_the_decoder(make: Callable[[str], Path]) -> None:
    """The encoder's own order: half of the frames of a hierarchy are not referred to, and none without B-frames."""
    for name, expected in (("hierarchy.mp4", range(FRAMES // 2 - 6, FRAMES // 2 + 1)), ("no-b-frames.mp4", [0])):
        with av.open(str(make(name))) as container:
            units = H264Units(container.streams.video[0].codec_context.extradata)
            count = sum(units.is_unreferenced(bytes(packet)) for packet in container.demux(video=0) if packet.size)
        assert count in expected


def test_truncated_videos_give_the_frames_of_a_full_decode(make: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("fragments.mp4", "broadcast.ts", "late-start.mkv", "in-order.avi"):
        whole = make(name).read_bytes()
        for share in (0.55, 0.8):
            path = tmp_path / name
            path.write_bytes(whole[: int(len(whole) * share)])
            try:
                frames = full_decode(path)
            except av.error.FFmpegError:
                continue
            for clip in read_clips(path, 3, upright, threads=1):
                assert shown_in_order(list(clip.items), frames), (name, share)


@pytest.mark.parametrize("name", ["hierarchy.mp4", "no-b-frames.mp4", "broadcast.ts"])
def test_damaged_videos_give_the_frames_of_a_full_decode(
    name: str, make: Callable[[str], Path], tmp_path: Path
) -> None:
    """Except for repaired pixels: FFmpeg's repairs differ even between one thread and several."""
    draw = random.Random(name)
    whole, sound = make(name).read_bytes(), full_decode(make(name))
    with av.open(str(make(name))) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos]
    for number in (10, 30, 50):
        data = bytearray(whole)
        at = places[number] + 60
        data[at : at + 100] = draw.randbytes(100)
        path = tmp_path / name
        path.write_bytes(data)
        frames = full_decode(path)
        repaired = {n for n, (a, b) in enumerate(zip(frames, sound, strict=False)) if not np.array_equal(a, b)}
        assert 0 < len(repaired) < FRAMES
        for clip in read_clips(path, 6, upright, threads=1):
            items = [each for n, each in zip(clip.indices, clip.items, strict=True) if n not in repaired]
            assert shown_in_order(items, frames), (number, clip.indices)


def test_a_file_without_an_index_of_keyframes(make: Callable[[str], Path], tmp_path: Path) -> None:
    for name, mark in (("late-start.mkv", b"\x1c\x53\xbb\x6b"), ("in-order.avi", b"idx1")):
        data = make(name).read_bytes()
        assert mark in data
        path = tmp_path / name
        path.write_bytes(data.replace(mark, b"\xec\x53\xbb\x6b" if name.endswith("mkv") else b"JUNK"))
        whole = full_decode(path)
        for clip in read_clips(path, 3, upright, threads=1):
            assert equal(list(clip.items), [whole[number] for number in clip.indices])


@pytest.mark.parametrize("name", ["no-b-frames.mp4", "xvid.mp4"])
def test_keyframes_that_are_none_are_seen_through(name: str, make: Callable[[str], Path], tmp_path: Path) -> None:
    """Files mark frames as keyframes that are predicted from others."""
    whole, data = full_decode(make(name)), bytearray(make(name).read_bytes())
    at = data.index(b"stss") + 8  # then: the count of keyframes, and their numbers from 1 (ISO/IEC 14496-12)
    assert struct.unpack(">2I", data[at : at + 8]) == (3, 1)
    data[at + 8 : at + 12] = struct.pack(">I", 14)
    path = tmp_path / name
    path.write_bytes(data)
    for clip in read_clips(path, 3, upright, threads=1):
        assert equal(list(clip.items), [whole[number] for number in clip.indices])


def test_frames_before_an_edit_list_are_hidden(make: Callable[[str], Path], tmp_path: Path) -> None:
    """A trimmed video begins between keyframes: players decode the frames before, and show none of them."""
    path = tmp_path / "trimmed.mp4"
    with av.open(str(make("no-b-frames.mp4"))) as given, av.open(str(path), "w") as container:
        source = given.streams.video[0]
        stream = container.add_stream_from_template(source)
        step = round(1 / (source.time_base * Fraction(30)))
        for packet in given.demux(source):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - 30 * step, packet.dts - 30 * step, stream
                container.mux(packet)
    whole = full_decode(path)
    assert len(whole) == FRAMES - 30
    with video.open_video(path) as (container, stream):
        assert len(read_index(container, stream).pts) == len(whole)
    assert equal(sought(path, [2, 4, 25]), [whole[2], whole[4], whole[25]])


def test_order_of_storage_is_read_from_the_parameter_sets(make: Callable[[str], Path]) -> None:
    for name, kept in (("in-order.avi", True), ("reordered.avi", False), ("intra.avi", True), ("xvid.avi", False)):
        with video.open_video(make(name)) as (container, stream):
            order = video_index._StoredOrder(stream)
            for packet in container.demux(stream):
                if packet.is_keyframe:
                    order.see(packet)
            assert order.kept is kept, name


@pytest.mark.parametrize(
    "packet",
    [b"", b"\0", b"\0\0\1", b"\0\0\0\5\1", b"\0\0\1\7", b"\0\0\1\x67\x64\0\x1f", b"\0\0\0\2\x67\x64", bytes(40)],
)
@pytest.mark.parametrize("extradata", [None, b"", b"\1\x64\0\x1f\xff"])
def test_broken_units_are_needed(packet: bytes, extradata: bytes | None) -> None:
    units = H264Units(extradata)
    assert not units.is_unreferenced(packet)
    assert not units.keeps_order(packet)
