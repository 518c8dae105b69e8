# SPDX-License-Identifier: Apache-2.0
"""Videos: the right frames of every container and codec, upright, and the errors of files that can't be read."""

from __future__ import annotations

import os
import socket
import struct
import wave
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from eulernet_core import errors, video, video_index
from eulernet_core.clip_geometry import Clip, clip_starts
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.video import read_clips, read_spaced_frames, upright
from tests.numbered_media import read_number, write_folder, write_video

Pictures = Clip[NDArray[np.uint8]]


def read(path: Path, clips: int = 1) -> list[Pictures]:
    return list(read_clips(path, clips, upright))


def numbers(clip: Pictures) -> list[int]:
    """The frame numbers in the clip's pictures."""
    return [read_number(encode_jpeg(picture)) for picture in clip.items]


VIDEOS = {
    "b-frames.mp4": ("libx264", {"options": {"bf": "3", "g": "48"}}),
    "open-gop.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:keyint=24:bframes=3"}}),
    "one-keyframe.mov": ("libx264", {"options": {"g": "1000"}}),
    "fragmented.mp4": ("libx264", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "motion-jpeg.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}),
    "xvid.avi": ("mpeg4", {"options": {"bf": "2"}}),
    "no-time-stamps.avi": ("libx264", {}),
    "vp8.webm": ("libvpx", {"options": {"cpu-used": "4"}}),
    "vp9.webm": ("libvpx-vp9", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
    "live.webm": ("libvpx", {"options": {"deadline": "realtime"}, "container_options": {"live": "1"}}),
    "film.mkv": ("libx264", {}),
}


@pytest.mark.parametrize("clips", [1, 3, 30])
@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_the_right_ones(name: str, clips: int, tmp_path: Path) -> None:
    codec, options = VIDEOS[name]
    found = read(write_video(tmp_path / name, 90, codec, **options), clips)
    assert [clip.indices for clip in found] == [
        [start, start + 3, start + 6, start + 9] for start in clip_starts(90, clips)
    ]
    assert [clip.number for clip in found] == list(range(len(found)))
    for clip in found:
        assert numbers(clip) == clip.indices


RATES = {
    "phone.mp4": (15, "libx264", [0, 1, 3, 4]),
    "film.mp4": (24, "libx264", [0, 2, 5, 7]),
    "film.mov": (Fraction(24000, 1001), "libx264", [0, 2, 5, 7]),
    "europe.avi": (25, "mjpeg", [0, 2, 5, 7]),
    "america.mp4": (Fraction(30000, 1001), "libx264", [0, 3, 6, 9]),
    "milliseconds.webm": (30, "libvpx", [0, 3, 6, 9]),
    "fast.mp4": (60, "libx264", [0, 6, 12, 18]),
    "fast.mkv": (Fraction(60000, 1001), "libx264", [0, 6, 12, 18]),
    "sport.mp4": (120, "libx264", [0, 12, 24, 36]),
    "stream.ts": (50, "libx264", [0, 5, 10, 15]),
    "disc.vob": (25, "mpeg2video", [0, 2, 5, 7]),
    "pictures.gif": (20, "gif", [0, 2, 4, 6]),
}


@pytest.mark.parametrize("name", RATES)
def test_frames_are_a_tenth_of_a_second_apart(name: str, tmp_path: Path) -> None:
    rate, codec, steps = RATES[name]
    pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
    path = write_video(tmp_path / name, 2 * round(rate), codec, rate=rate, pix_fmt=pix_fmt)
    found = read(path, 2)
    assert len(found) == 2
    for clip in found:
        assert [index - clip.indices[0] for index in clip.indices] == steps
        assert numbers(clip) == clip.indices
        assert clip.warning == ""
    spaced = [read_number(encode_jpeg(each)) for each in read_spaced_frames(path, upright)]
    assert [number * 10 / rate for number in spaced] == pytest.approx(range(len(spaced)), abs=0.51 * 10 / rate)
    assert len(spaced) == pytest.approx(20, abs=1)


def test_variable_frame_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = [0, *accumulate(rng.integers(15, 60, 119).tolist())]
    path = write_video(tmp_path / "phone.mp4", 120, times_ms=times)
    for clip in read(path, 8):
        assert numbers(clip) == clip.indices
        for number, index in enumerate(clip.indices):
            due = times[clip.indices[0]] + 100 * number
            assert abs(times[index] - due) <= min(abs(time - due) for time in times) + 2
        assert clip.warning == ""


def test_slow_video_gives_consecutive_frames_and_a_warning(tmp_path: Path) -> None:
    (clip,) = read(write_video(tmp_path / "slow.mp4", 20, rate=5))
    assert numbers(clip) == clip.indices == [8, 9, 10, 11]
    assert "5.0 frames/s" in clip.warning


def test_gap_in_a_video_gives_a_warning(tmp_path: Path) -> None:
    times = [33 * number + (700 if number >= 45 else 0) for number in range(90)]
    (clip,) = read(write_video(tmp_path / "gap.mp4", 90, times_ms=times))
    assert numbers(clip) == clip.indices
    assert clip.warning


@pytest.mark.parametrize("duration", [0, 1])  # all at one time; 15,360 frames/s
def test_impossible_time_stamps_are_not_believed(duration: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 60, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 8  # then: entries, and for each its frames and their duration (ISO/IEC 14496-12)
    entries, frames = struct.unpack(">II", data[at : at + 8])
    assert (entries, frames) == (1, 60)
    data[at + 8 : at + 12] = struct.pack(">I", duration)
    path.write_bytes(data)
    (clip,) = read(path)
    assert numbers(clip) == clip.indices == [25, 28, 31, 34]


@pytest.mark.parametrize(("rate", "needed"), [(5, 4), (15, 5), (25, 8), (60, 19)])
def test_shortest_videos(rate: int, needed: int, tmp_path: Path) -> None:
    (clip,) = read(write_video(tmp_path / "clip.mp4", needed, rate=rate))
    assert numbers(clip) == clip.indices
    path = write_video(tmp_path / "short.mp4", needed - 1, rate=rate)
    with pytest.raises(errors.TooFewFramesError, match=rf"short.mp4: {needed - 1} frames in 0\.\d\d s.* {needed} "):
        read(path)


@pytest.mark.parametrize("count_in_index", [True, False])
def test_hidden_frames_of_vp8_are_not_counted(
    count_in_index: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {20, 31, 33, 50}
    every = write_video(tmp_path / "all.webm", 92, "libvpx", options={"deadline": "realtime"})
    with av.open(str(every)) as source, av.open(str(tmp_path / "clip.webm"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            data = bytearray(bytes(packet))
            data[0] &= 0xFF if number not in hidden else ~0x10  # show_frame
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            target.mux(copy)
    if count_in_index:  # then the decoded frames must reveal the wrong index
        monkeypatch.setattr(video_index, "_hidden", lambda *_: False)
    shown = [number for number in range(92) if number not in hidden]
    (clip,) = read(tmp_path / "clip.webm")
    assert clip.indices == [39, 42, 45, 47], "frame 50 is hidden, so the last frame is the 47th of those shown"
    assert numbers(clip) == [shown[i] for i in clip.indices] == [42, 45, 48, 51]


def test_time_stamps_are_used_where_they_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", 60, options={"g": "12"})
    monkeypatch.delattr(video, "_decoded_times")  # decoding from the beginning would now fail
    (clip,) = read(path)
    assert numbers(clip) == [25, 28, 31, 34]


@pytest.mark.parametrize("announced", [3, 500])
def test_header_with_a_wrong_frame_count(announced: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 40, "mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    true = struct.pack("<I", 40)
    # dwTotalFrames of the main header `avih`, and dwLength of the stream header `strh`
    for chunk, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(chunk) + offset
        assert data[at : at + 4] == true
        data[at : at + 4] = struct.pack("<I", announced)
    path.write_bytes(data)
    (clip,) = read(path)
    assert numbers(clip) == [15, 18, 21, 24]


def test_video_cut_short_gives_the_clip_of_the_rest(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 90, options={"g": "10"}, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    (clip,) = read(path)
    assert numbers(clip) == clip.indices
    assert 10 < clip.indices[0] < 40


def test_damaged_packets_are_passed_over(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", 60, "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    position, size = packets[30]
    at = data.index(b"\xff\xd8\xff", position)
    data[at : at + size // 2] = bytes(size // 2)
    path.write_bytes(data)
    (clip,) = read(path)
    assert len(clip.items) == 4


def corners(number: int) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right; 320x240."""
    picture = np.full((240, 320, 3), 255, np.uint8)
    picture[:120, :160], picture[:120, 160:], picture[120:, :160] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return picture


@pytest.mark.parametrize(
    ("rotation", "mirrored", "expected"),
    [
        (None, False, "RG BW"),
        (0, False, "RG BW"),
        (90, False, "GW RB"),  # counter-clockwise
        (-90, False, "BR WG"),
        (180, False, "WB GR"),
        (0, True, "GR WB"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_rotation_of_phones_is_applied(
    suffix: str, rotation: int | None, mirrored: bool, expected: str, tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"clip.{suffix}", 12, rotation=rotation, mirrored=mirrored, picture=corners)
    picture = read(path)[0].items[0]
    height, width = picture.shape[:2]
    assert (width, height) == ((240, 320) if rotation in (90, -90) else (320, 240))
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    rows = [[picture[y * height // 4, x * width // 4] for x in (1, 3)] for y in (1, 3)]
    assert " ".join("".join(names[tuple(int(c > 128) for c in pixel)] for pixel in row) for row in rows) == expected


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (Fraction(2), None, (640, 240)),
        (Fraction(1, 2), None, (320, 480)),
        (Fraction(2), 90, (240, 640)),
        (Fraction(32, 27), None, (379, 240)),
        (Fraction(1), None, (320, 240)),
        (Fraction(40), None, (320, 240)),  # no camera has such pixels
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_have_square_pixels(
    suffix: str, aspect: Fraction, rotation: int | None, size: tuple[int, int], tmp_path: Path
) -> None:
    path = write_video(tmp_path / f"clip.{suffix}", 12, aspect=aspect, rotation=rotation, picture=corners)
    picture = read(path)[0].items[0]
    assert picture.shape[1::-1] == size
    names = {None: ([220, 20, 20], [20, 220, 20]), 90: ([20, 220, 20], [220, 220, 220])}[rotation]
    height, width = size[::-1]
    for colour, x in zip(names, (width // 4, 3 * width // 4), strict=True):
        assert np.abs(picture[height // 4, x].astype(int) - colour).max() < 40


def write_tracks(path: Path, *tracks: tuple[int, int, int]) -> Path:
    """A video with a track for each (grey level, width, disposition)."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, width, disposition in tracks:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = width, 240, "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for _ in range(12):
            for stream, (grey, width, _) in zip(streams, tracks, strict=True):
                picture = np.full((240, width, 3), grey, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


DEFAULT = av.stream.Disposition.default.value


@pytest.mark.parametrize(
    ("tracks", "played"),
    [
        (((50, 320, DEFAULT), (200, 640, 0)), 50),
        (((50, 640, 0), (200, 320, DEFAULT)), 200),
        (((50, 320, 0), (200, 640, 0)), 200),
        (((50, 320, DEFAULT), (200, 640, DEFAULT)), 200),
        (((50, 320, DEFAULT), (200, 320, DEFAULT)), 50),
    ],
)
def test_the_track_that_plays_is_taken(tracks: tuple, played: int, tmp_path: Path) -> None:
    (clip,) = read(write_tracks(tmp_path / "clip.mkv", *tracks))
    assert clip.items[0].mean() == pytest.approx(played, abs=8)


def test_a_cover_picture_is_no_track(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    source = write_video(tmp_path / "plain.mkv", 30)
    cover = encode_jpeg(np.full((480, 640, 3), 255, np.uint8))
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        container.add_attachment("cover.jpg", "image/jpeg", cover)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    (clip,) = read(path)
    assert numbers(clip) == clip.indices


def test_colours_are_kept(tmp_path: Path) -> None:
    colour = (190, 120, 90)
    path = write_video(tmp_path / "clip.mp4", 10, picture=lambda _: np.full((240, 320, 3), colour, np.uint8))
    picture = read(path)[0].items[0]
    assert np.abs(picture.mean((0, 1)) - colour).max() < 4


def write_audio(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16000))
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BROKEN = {
    "missing": (lambda d: d / "gone.mp4", errors.MissingFileError, "gone.mp4: "),
    "zero bytes": (lambda d: write_bytes(d / "z.mp4", b""), errors.NotAVideoError, "z.mp4: .*0 bytes"),
    "text": (lambda d: write_bytes(d / "t.mp4", b"hello\n" * 99), errors.NotAVideoError, "t.mp4: .*MP4"),
    "text file": (lambda d: write_bytes(d / "t.ans", b"hello\n" * 999), errors.NotAVideoError, "t.ans: .*MP4"),
    "audio only": (lambda d: write_audio(d / "a.wav"), errors.NotAVideoError, "a.wav: .*audio.*MP4"),
    "no moov": (
        lambda d: write_bytes(d / "c.mp4", write_video(d / "c.mp4", 30).read_bytes().partition(b"moov")[0][:-4]),
        errors.TruncatedVideoError,
        "c.mp4: .*moov.*again",
    ),
    "short": (lambda d: write_video(d / "clip.mp4", 3), errors.TooFewFramesError, "clip.mp4: 3 frames.* 10 "),
    "one picture": (
        lambda d: write_folder(d / "f", ["a.jpg"]) / "a.jpg",
        errors.TooFewFramesError,
        "a.jpg: 1 frame, .* 10 ",
    ),
}


def make_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def make_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


NO_FILES = {
    "pipe": (make_pipe, "pipe.*save"),
    "socket": (make_socket, "socket.*save"),
    "device": (lambda _: Path("/dev/null"), "device.*record"),
    "camera": (lambda _: Path("rtsp://camera.example/live"), "address.*download"),
    "page": (lambda _: Path("https://example.org/clip.mp4"), "address.*download"),
    "bucket": (lambda _: Path("s3://bucket/clip.mp4"), "address.*download"),
    "standard input": (lambda _: Path("-"), "standard input.*save"),
}


@pytest.mark.parametrize("case", NO_FILES)
def test_what_is_no_file_is_named_for_what_it_is(case: str, tmp_path: Path) -> None:
    build, fields = NO_FILES[case]
    path = build(tmp_path / "x")
    name = str(path).replace(":/", "://")
    with pytest.raises(errors.NotAFileError, match=f"{name}: .*{fields}"):
        read(path)


@pytest.mark.parametrize("case", BROKEN)
def test_broken_videos_are_named_with_a_remedy(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build, kind, fields = BROKEN[case]
    path = build(tmp_path)
    capfd.readouterr()  # messages of the encoder
    with pytest.raises(errors.MediaError, match=fields) as caught:
        read(path)
    assert type(caught.value) is kind
    assert capfd.readouterr().err == "", "FFmpeg's own messages stay out of the user's terminal"


def test_playlist_opens_no_other_file(tmp_path: Path) -> None:
    text = b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n"
    with pytest.raises(errors.NotAVideoError):
        read(write_bytes(tmp_path / "list.m3u8", text))


def test_names_that_look_like_addresses_or_patterns(tmp_path: Path) -> None:
    for name in ("http:clip.mp4", "clip%03d.mp4", "-clip.mp4", "a#b?.mp4"):
        assert read(write_video(tmp_path / "plain.mp4", 10).rename(tmp_path / name))


def test_metadata_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 12, "mjpeg", pix_fmt="yuvj420p")
    whole = path.read_bytes()
    # An INFO list with a title in Latin-1, before the list of frames (RIFF, as in AVI).
    title = b"INAM" + struct.pack("<I", 4) + b"caf\xe9"
    info = b"LIST" + struct.pack("<I", 4 + len(title)) + b"INFO" + title
    at = whole.index(b"movi") - 8
    grown = whole[:at] + info + whole[at:]
    path.write_bytes(grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:])
    with video.open_video(path) as (container, _):
        assert container.metadata["title"].startswith("caf")
    (clip,) = read(path)
    assert numbers(clip) == [1, 4, 7, 10]


def test_pictures_in_an_unknown_format_are_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 12, "mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"zzZ9"))
    with pytest.raises(errors.NotAVideoError, match=r"a\.avi: .*MP4"):
        read(path)
