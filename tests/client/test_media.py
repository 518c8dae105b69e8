"""Which frames of a source make a clip, and what is said of a source that makes none."""

from __future__ import annotations

import itertools
import struct
import wave
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from eulernet_client import _media, _video, errors
from eulernet_client._media import clip_starts, find_sources, iter_clips, natural_key


@pytest.mark.parametrize(
    ("frames", "clips", "starts", "reason"),
    [
        (9, 1, [], "one frame short"),
        (10, 1, [0], "exactly one clip"),
        (11, 1, [0], "the middle, rounded down"),
        (100, 1, [45], "the middle"),
        (100, 2, [20, 70], "the middles of the halves"),
        (100, 5, [5, 25, 45, 65, 85], "the middles of the fifths"),
        (12, 5, [0, 1, 2], "no more than there are different ones"),
        (10, 100, [0], "all the same"),
    ],
)
def test_clips_are_spread_evenly(frames: int, clips: int, starts: list[int], reason: str) -> None:
    assert clip_starts(frames, clips) == starts, reason


def test_clip_starts_stay_inside() -> None:
    for frames, clips in itertools.product(range(10, 60), range(1, 12)):
        starts = clip_starts(frames, clips)
        assert starts == sorted(set(starts))
        assert starts[0] >= 0
        assert starts[-1] <= frames - 10


def test_clips_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="clips=0"):
        clip_starts(100, 0)


def test_natural_order() -> None:
    names = ["frame10.jpg", "frame9.jpg", "Frame1.jpg", "frame009b.jpg", "10.jpg", "9.jpg", "a.jpg"]
    expected = ["9.jpg", "10.jpg", "a.jpg", "Frame1.jpg", "frame9.jpg", "frame009b.jpg", "frame10.jpg"]
    assert sorted(names, key=natural_key) == expected


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
def test_frames_are_the_right_ones(name: str, clips: int, make, tmp_path: Path) -> None:
    codec, options = VIDEOS[name]
    video = make.video(tmp_path / name, 90, codec, **options)
    found = list(iter_clips(video, clips))
    assert [[frame.index for frame in clip.frames] for clip in found] == [
        [start, start + 3, start + 6, start + 9] for start in clip_starts(90, clips)
    ]
    assert [clip.number for clip in found] == list(range(len(found)))
    for clip in found:
        assert [make.number(frame.jpeg) for frame in clip.frames] == [frame.index for frame in clip.frames]


@pytest.mark.parametrize("count_in_index", [True, False])
def test_hidden_frames_of_vp8_are_not_counted(
    count_in_index: bool, make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {20, 31, 33, 50}
    every = make.video(tmp_path / "all.webm", 92, "libvpx", options={"deadline": "realtime"})
    with av.open(str(every)) as source, av.open(str(tmp_path / "clip.webm"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            data = bytearray(bytes(packet))
            data[0] &= 0xFF if number not in hidden else ~0x10  # show_frame
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            target.mux(copy)
    if count_in_index:  # then the frames that come out must give the mistake away
        monkeypatch.setattr(_video, "_hidden", lambda *_: False)
    shown = [number for number in range(92) if number not in hidden]
    (clip,) = iter_clips(tmp_path / "clip.webm")
    assert [frame.index for frame in clip.frames] == [39, 42, 45, 48]
    assert [make.number(jpeg) for jpeg in clip.jpegs] == [shown[i] for i in (39, 42, 45, 48)]


def test_time_stamps_are_used_where_they_are_good(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make.video(tmp_path / "clip.mp4", 60, options={"g": "12"})
    monkeypatch.delattr(_video, "_decode_all")  # decoding from the beginning would now fail
    (clip,) = iter_clips(video)
    assert [make.number(jpeg) for jpeg in clip.jpegs] == [25, 28, 31, 34]


@pytest.mark.parametrize("announced", [3, 500])
def test_header_that_lies_about_the_frame_count(announced: int, make, tmp_path: Path) -> None:
    video = make.video(tmp_path / "clip.avi", 40, "mjpeg", pix_fmt="yuvj420p")
    data = bytearray(video.read_bytes())
    true = struct.pack("<I", 40)
    # dwTotalFrames of the main header `avih`, and dwLength of the stream header `strh`
    for chunk, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(chunk) + offset
        assert data[at : at + 4] == true
        data[at : at + 4] = struct.pack("<I", announced)
    video.write_bytes(data)
    (clip,) = iter_clips(video)
    assert [make.number(jpeg) for jpeg in clip.jpegs] == [15, 18, 21, 24]


def test_video_cut_short_gives_the_clip_of_what_is_left(make, tmp_path: Path) -> None:
    video = make.video(tmp_path / "clip.mp4", 90, options={"g": "10"}, container_options={"movflags": "faststart"})
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 2 // 3])
    (clip,) = iter_clips(video)
    numbers = [make.number(jpeg) for jpeg in clip.jpegs]
    assert numbers == [frame.index for frame in clip.frames]
    assert 10 < numbers[0] < 40


def test_damaged_packets_are_passed_over(make, tmp_path: Path) -> None:
    video = make.video(tmp_path / "clip.mkv", 60, "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(video)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(video.read_bytes())
    position, size = packets[30]
    at = data.index(b"\xff\xd8\xff", position)
    data[at : at + size // 2] = bytes(size // 2)
    video.write_bytes(data)
    (clip,) = iter_clips(video)
    assert len(clip.frames) == 4


def corners(number: int) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right; 320x240."""
    picture = np.full((240, 320, 3), 255, np.uint8)
    picture[:120, :160], picture[:120, 160:], picture[120:, :160] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return picture


@pytest.mark.parametrize(
    ("rotation", "mirrored", "upright"),
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
    suffix: str, rotation: int | None, mirrored: bool, upright: str, make, tmp_path: Path
) -> None:
    video = make.video(tmp_path / f"clip.{suffix}", 12, rotation=rotation, mirrored=mirrored, picture=corners)
    picture = simplejpeg.decode_jpeg(next(iter_clips(video)).frames[0].jpeg)
    height, width = picture.shape[:2]
    assert (width, height) == ((240, 320) if rotation in (90, -90) else (320, 240))
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    rows = [[picture[y * height // 4, x * width // 4] for x in (1, 3)] for y in (1, 3)]
    assert " ".join("".join(names[tuple(int(c > 128) for c in pixel)] for pixel in row) for row in rows) == upright


def test_colours_come_through(make, tmp_path: Path) -> None:
    colour = (190, 120, 90)
    video = make.video(tmp_path / "clip.mp4", 10, picture=lambda _: np.full((240, 320, 3), colour, np.uint8))
    picture = simplejpeg.decode_jpeg(next(iter_clips(video)).frames[0].jpeg)
    assert np.abs(picture.mean((0, 1)) - colour).max() < 4


def test_jpeg_is_420(make, tmp_path: Path) -> None:
    frame = next(iter_clips(make.video(tmp_path / "clip.mp4", 10))).frames[0]
    assert simplejpeg.decode_jpeg_header(frame.jpeg)[3] == "420"


def test_folder_frames_are_sent_untouched_in_natural_order(make, tmp_path: Path) -> None:
    names = [f"frame{i}.{'JPG' if i % 2 else 'jpeg'}" for i in range(25)]
    folder = make.folder(tmp_path / "frames", names)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "frame3b.png").write_bytes(b"x")
    (clip,) = iter_clips(folder)
    assert [frame.index for frame in clip.frames] == [7, 10, 13, 16]
    assert clip.frames[0].name == "frame 7 (frame7.JPG)"
    assert clip.jpegs == [(folder / names[i]).read_bytes() for i in (7, 10, 13, 16)]


def test_empty_and_broken_jpegs_are_left_to_the_server(make, tmp_path: Path) -> None:
    folder = make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(10)])
    (folder / "3.jpg").write_bytes(b"")
    (folder / "6.jpg").write_bytes(b"no JPEG")
    (clip,) = iter_clips(folder)
    assert clip.jpegs[1:3] == [b"", b"no JPEG"]


def _audio(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16000))
    return path


def _folder(path: Path, *files: str) -> Path:
    path.mkdir()
    for name in files:
        (path / name).write_text("x")
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BROKEN = {
    "missing": (lambda d, m: d / "gone.mp4", errors.MissingFileError, "gone.mp4: no such file or folder; check the"),
    "zero bytes": (lambda d, m: _bytes(d / "z.mp4", b""), errors.NotAVideoError, r"z.mp4: the file is empty \(0 bytes"),
    "text": (lambda d, m: _bytes(d / "t.mp4", b"hello\n" * 99), errors.NotAVideoError, "t.mp4: not a video .* give an"),
    "text file": (lambda d, m: _bytes(d / "t.ans", b"hello\n" * 999), errors.NotAVideoError, "t.ans: .*give an MP4"),
    "audio only": (
        lambda d, m: _audio(d / "a.wav"),
        errors.NotAVideoError,
        r"a.wav: no pictures .*only audio.*give",
    ),
    "no moov": (
        lambda d, m: _bytes(d / "c.mp4", m.video(d / "c.mp4", 30).read_bytes()[:3000]),
        errors.TruncatedVideoError,
        r"c.mp4: the file ends before its index \(moov box\).*copy or record it again",
    ),
    "short": (
        lambda d, m: m.video(d / "clip.mp4", 3),
        errors.TooFewFramesError,
        r"clip.mp4: 3 frames, needs at least 10 \(4 frames, every 3rd\)",
    ),
    "one picture": (
        lambda d, m: m.folder(d / "f", ["a.jpg"]) / "a.jpg",
        errors.TooFewFramesError,
        "a.jpg: 1 frame, needs at least 10",
    ),
    "short folder": (
        lambda d, m: m.folder(d / "f", [f"{i}.jpg" for i in range(9)]),
        errors.TooFewFramesError,
        "f: 9 frames, needs at least 10",
    ),
    "empty folder": (lambda d, m: _folder(d / "f"), errors.EmptyFolderError, "f: no JPEG in this folder; put the"),
    "other files": (lambda d, m: _folder(d / "f", "a.png"), errors.EmptyFolderError, "f: no JPEG in this folder"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_sources_are_named_with_a_remedy(
    case: str, make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build, kind, text = BROKEN[case]
    path = build(tmp_path, make)
    capfd.readouterr()  # what the encoder said
    with pytest.raises(errors.MediaError, match=text) as caught:
        list(iter_clips(path))
    assert type(caught.value) is kind
    assert capfd.readouterr().err == "", "FFmpeg's own messages stay out of the user's terminal"


def test_names_that_the_system_refuses(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 100)
    assert find_sources(path) == [path]
    with pytest.raises(errors.UnreadableFileError, match=r"can't be read \(File name too long\); check the path"):
        list(iter_clips(path))


def test_playlist_opens_no_other_file(make, tmp_path: Path) -> None:
    playlist = _bytes(tmp_path / "list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(errors.NotAVideoError):
        list(iter_clips(playlist))


def test_names_that_look_like_addresses_or_patterns(make, tmp_path: Path) -> None:
    for name in ("http:clip.mp4", "clip%03d.mp4", "-clip.mp4", "a#b?.mp4"):
        assert next(iter_clips(make.video(tmp_path / "plain.mp4", 10).rename(tmp_path / name))).frames


def test_no_more_frames_are_held_than_a_clip_needs() -> None:
    alive: weakref.WeakSet[_media.SourceFrame] = weakref.WeakSet()

    def frames() -> Iterator[_media.SourceFrame]:
        for i in range(3000):
            alive.add(frame := _media.SourceFrame(i, "", b""))
            yield frame
            del frame

    most = clips = 0
    for _ in _media.assemble(clip_starts(3000, 250), frames()):
        most, clips = max(most, len(alive)), clips + 1
    assert clips == 250
    assert most <= 20  # a clip spans 10


def test_find_sources(make, tmp_path: Path) -> None:
    make.folder(tmp_path / "b frames", ["0.jpg"])
    _folder(tmp_path / "videos", "clip10.MP4", "clip9.mov", "thumb.jpg", "notes.txt", "._clip9.mov")
    _folder(tmp_path / "videos" / "more", "x.webm")
    _folder(tmp_path / "empty")
    found = [str(path.relative_to(tmp_path)) for path in find_sources(tmp_path)]
    assert found == ["b frames", "videos/clip9.mov", "videos/clip10.MP4", "videos/more/x.webm"]
    assert find_sources(tmp_path / "empty") == [tmp_path / "empty"]
    assert find_sources(tmp_path / "gone") == [tmp_path / "gone"]
    assert find_sources(tmp_path / "videos" / "notes.txt") == [tmp_path / "videos" / "notes.txt"]


def test_metadata_that_is_not_utf8_does_not_matter(make, tmp_path) -> None:
    video = make.video(tmp_path / "a.avi", 12, "mjpeg", pix_fmt="yuvj420p")
    whole = video.read_bytes()
    # An INFO list with a title in Latin-1, put before the list of frames (RIFF, as AVI has it).
    title = b"INAM" + struct.pack("<I", 4) + b"caf\xe9"
    info = b"LIST" + struct.pack("<I", 4 + len(title)) + b"INFO" + title
    at = whole.index(b"movi") - 8
    grown = whole[:at] + info + whole[at:]
    video.write_bytes(grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:])
    with av.open(str(video), metadata_errors="replace") as container:
        assert container.metadata["title"].startswith("caf")
    (clip,) = iter_clips(video)
    assert [make.number(frame.jpeg) for frame in clip.frames] == [1, 4, 7, 10]


def test_pictures_in_an_unknown_format_are_named(make, tmp_path) -> None:
    video = make.video(tmp_path / "a.avi", 12, "mjpeg", pix_fmt="yuvj420p")
    video.write_bytes(video.read_bytes().replace(b"MJPG", b"zzZ9"))
    with pytest.raises(errors.NotAVideoError, match=r"a\.avi: .*give an MP4"):
        list(iter_clips(video))
