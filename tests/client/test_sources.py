# SPDX-License-Identifier: Apache-2.0
"""Sources: the clips of videos and folders, which files are found, and the errors of sources without a clip."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from av.format import ContainerFormat
from click.testing import CliRunner
from PIL import Image

from eulernet_client import Client, errors, source_search
from eulernet_client.batch.journal import fingerprint
from eulernet_client.media_kinds import FRAME_SUFFIXES, VIDEO_SUFFIXES, natural_key
from eulernet_client.score_command import score
from eulernet_client.source_search import PassedOver, passed_over_lines
from eulernet_client.sources import REPEATED_PICTURES, find_sources, iter_clips, search_sources
from eulernet_core.limits import MAX_PIXELS
from tests.numbered_media import numbered_picture, write_video


def write_files(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("x")
    return folder


def test_natural_order() -> None:
    names = ["frame10.jpg", "frame9.jpg", "Frame1.jpg", "frame009b.jpg", "10.jpg", "9.jpg", "a.jpg"]
    expected = ["9.jpg", "10.jpg", "a.jpg", "Frame1.jpg", "frame9.jpg", "frame009b.jpg", "frame10.jpg"]
    assert sorted(names, key=natural_key) == expected


def test_clips_of_a_video(make, tmp_path: Path) -> None:
    clips = list(iter_clips(make.video(tmp_path / "clip.mp4", 40), clips=2))
    assert [clip.number for clip in clips] == [0, 1]
    for clip, start in zip(clips, (5, 25), strict=True):
        assert [frame.index for frame in clip.frames] == [start, start + 3, start + 6, start + 9]
        assert [frame.name for frame in clip.frames] == [f"frame {frame.index}" for frame in clip.frames]
        assert [make.number(jpeg) for jpeg in clip.jpegs] == [frame.index for frame in clip.frames]


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
    assert clip.warnings == ("the folder has several types of picture: 25 JPEG taken, 1 not",)


def write_pictures(folder: Path, suffix: str, count: int = 12, mode: str = "RGB") -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        picture = Image.fromarray(numbered_picture(number)).convert(mode)
        picture.save(folder / f"frame{number}{suffix}")
    return folder


@pytest.mark.parametrize(
    ("suffix", "mode", "kind"),
    [
        (".png", "RGB", "PNG"),
        (".PNG", "RGBA", "PNG"),
        (".png", "P", "PNG"),
        (".png", "L", "PNG"),
        (".webp", "RGB", "WebP"),
        (".bmp", "RGB", "BMP"),
        (".tif", "RGB", "TIFF"),
    ],
)
def test_folders_of_other_pictures_are_encoded_and_that_is_said(
    suffix: str, mode: str, kind: str, make, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "frames", suffix, mode=mode)
    assert find_sources(tmp_path) == [folder]
    (clip,) = iter_clips(folder)
    assert [make.number(jpeg) for jpeg in clip.jpegs] == [1, 4, 7, 10]
    assert simplejpeg.decode_jpeg_header(clip.jpegs[0])[:2] == (240, 320)
    assert clip.frames[1].name == f"frame 4 (frame4{suffix})"
    (warning,) = clip.warnings
    assert kind in warning
    assert "JPEG" in warning


def test_sixteen_bits_and_orientation_of_other_pictures_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture is turned by a quarter
    for number in range(10):
        Image.fromarray(levels).save(folder / f"{number}.png", exif=exif)
    (clip,) = iter_clips(folder)
    picture = simplejpeg.decode_jpeg(clip.jpegs[0])
    assert picture.shape == (64, 48, 3)
    assert picture[:4].mean() == pytest.approx(127, abs=4)
    assert picture[:, :4].mean() > 240
    assert picture[:, -4:].mean() < 15


def test_damaged_other_pictures_are_left_to_the_server(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", ".png", 10)
    (folder / "frame3.png").write_bytes(b"")
    whole = (folder / "frame6.png").read_bytes()
    (folder / "frame6.png").write_bytes(whole[: len(whole) // 2])
    (clip,) = iter_clips(folder)
    assert clip.jpegs[1:3] == [b"", whole[: len(whole) // 2]]


def test_other_pictures_over_the_pixel_limit_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", ".png", 10)
    Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)).save(folder / "frame6.png")
    with pytest.raises(errors.TooLargeError, match=rf"frame6.png: .* pixels.*{MAX_PIXELS:,}") as caught:
        list(iter_clips(folder))
    assert (caught.value.path, caught.value.index) == (str(folder), 6)


def test_the_most_frequent_kind_of_picture_makes_the_frames(make, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", ".png", 12)
    make.folder(folder, ["preview.jpg", "cover.jfif"])
    found = search_sources(folder)
    assert found.sources == [folder]
    assert [(each.path.name, each.reason) for each in found.passed_over] == [
        ("cover.jfif", source_search.OTHER_FRAMES),
        ("preview.jpg", source_search.OTHER_FRAMES),
    ]
    (clip,) = iter_clips(folder)
    assert [frame.index for frame in clip.frames] == [1, 4, 7, 10]
    assert "12 PNG taken, 2 not" in clip.warnings[1]


def test_fingerprint_changes_with_other_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", ".png", 10)
    before = fingerprint(folder)
    assert before == fingerprint(folder)
    os.utime(folder / "frame4.png", ns=(1, 1))
    assert fingerprint(folder) != before


def test_repeated_pictures_are_noticed(make, tmp_path: Path) -> None:
    video = make.video(tmp_path / "frozen.mp4", 30, picture=lambda number: numbered_picture(min(number, 14)))
    (clip,) = iter_clips(video)
    assert clip.warnings == (REPEATED_PICTURES,)
    doubled = write_video(tmp_path / "doubled.mp4", 60, rate=60, picture=lambda number: numbered_picture(number // 2))
    (clip,) = iter_clips(doubled)
    assert clip.warnings == (), "a video of 30 frames/s stored at 60: the frames a tenth of a second apart differ"
    folder = make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(10)])
    (folder / "6.jpg").write_bytes((folder / "3.jpg").read_bytes())
    (clip,) = iter_clips(folder)
    assert clip.warnings == (REPEATED_PICTURES,)


def test_empty_and_broken_jpegs_are_left_to_the_server(make, tmp_path: Path) -> None:
    folder = make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(10)])
    (folder / "3.jpg").write_bytes(b"")
    (folder / "6.jpg").write_bytes(b"no JPEG")
    (clip,) = iter_clips(folder)
    assert clip.jpegs[1:3] == [b"", b"no JPEG"]


def make_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


BROKEN = {
    "missing": (lambda d, m: d / "gone.mp4", errors.MissingFileError, "gone.mp4: "),
    "short video": (lambda d, m: m.video(d / "clip.mp4", 3), errors.TooFewFramesError, "clip.mp4: 3 frames.* 10 "),
    "short folder": (
        lambda d, m: m.folder(d / "f", [f"{i}.jpg" for i in range(9)]),
        errors.TooFewFramesError,
        "f: 9 frames.* 10 ",
    ),
    "empty folder": (lambda d, m: write_files(d / "f"), errors.EmptyFolderError, "f: .*frame0.jpg"),
    "other files": (lambda d, m: write_files(d / "f", "a.txt"), errors.EmptyFolderError, "f: .*frame0.jpg"),
    "address": (
        lambda d, m: "https://example.org/a.mp4",
        errors.NotAFileError,
        "https://example.org/a.mp4: .*download",
    ),
    "pipe": (lambda d, m: make_pipe(d / "clip.mp4"), errors.NotAFileError, "clip.mp4: a pipe"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_sources_without_a_clip(case: str, make, tmp_path: Path) -> None:
    build, kind, fields = BROKEN[case]
    path = build(tmp_path, make)
    with pytest.raises(errors.MediaError, match=fields) as caught:
        list(iter_clips(path))
    assert type(caught.value) is kind


def test_names_that_the_system_refuses(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 100)
    assert find_sources(path) == [path]
    with pytest.raises(errors.UnreadableFileError, match="File name too long"):
        list(iter_clips(path))


def test_find_sources(make, tmp_path: Path) -> None:
    make.folder(tmp_path / "b frames", ["0.jpg"])
    write_files(tmp_path / "videos", "clip10.MP4", "clip9.mov", "thumb.jpg", "notes.txt", "._clip9.mov")
    write_files(tmp_path / "videos" / "more", "x.webm")
    write_files(tmp_path / "empty")
    found = [str(path.relative_to(tmp_path)) for path in find_sources(tmp_path)]
    assert found == ["b frames", "videos/clip9.mov", "videos/clip10.MP4", "videos/more/x.webm"]
    assert find_sources(tmp_path / "empty") == [tmp_path / "empty"]
    assert find_sources(tmp_path / "gone") == [tmp_path / "gone"]
    assert find_sources(tmp_path / "videos" / "notes.txt") == [tmp_path / "videos" / "notes.txt"]


CONTAINERS = {
    "disc.m2ts": ("mpegts", "libx264", {"mpegts_m2ts_mode": "1"}),
    "camera.MTS": ("mpegts", "libx264", {}),
    "disc.vob": ("vob", "mpeg2video", {}),
    "old.asf": ("asf", "msmpeg4v3", {}),
    "old.wmv": ("asf", "wmv2", {}),
    "phone.3g2": ("3g2", "mpeg4", {}),
    "phone.3gp": ("3gp", "mpeg4", {}),
    "film.qt": ("mov", "mjpeg", {}),
    "tape.mxf": ("mxf", "mpeg2video", {}),
    "bare.h264": ("h264", "libx264", {}),
    "short.gif": ("gif", "gif", {}),
}


def write_container(path: Path, container: str, codec: str, options: dict[str, str]) -> Path:
    """24 numbered pictures, 25 frames/s."""
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for number in range(24):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", CONTAINERS)
def test_videos_of_every_kind_are_found_and_read(name: str, make, tmp_path: Path) -> None:
    path = write_container(tmp_path / name, *CONTAINERS[name])
    assert search_sources(tmp_path) == source_search.Found([path], [])
    (clip,) = iter_clips(path)
    shown = [make.number(jpeg) for jpeg in clip.jpegs]
    assert shown == [frame.index for frame in clip.frames]
    steps = [index - shown[0] for index in shown]
    assert steps == [0, 2, 5, 7]


def test_animated_webp_is_a_video(make, tmp_path: Path) -> None:
    pictures = [Image.fromarray(numbered_picture(number)) for number in range(24)]
    path = tmp_path / "short.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, quality=80)
    assert search_sources(tmp_path) == source_search.Found([path], [])
    (clip,) = iter_clips(path)
    assert [frame.index for frame in clip.frames] == [8, 10, 13, 15]
    assert [make.number(jpeg) for jpeg in clip.jpegs] == [8, 10, 13, 15]
    assert clip.warnings == ()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.NotAVideoError, match="short.webp: .*damaged"):
        list(iter_clips(path))
    pictures[0].save(path, save_all=True, append_images=pictures[1:4], duration=40)
    with pytest.raises(errors.TooFewFramesError, match=r"short.webp: 4 frames in 0.16 s.* 8 "):
        list(iter_clips(path))


# Suffixes of FFmpeg's muxers with pictures that are not the videos of a person: single pictures, playlists, raw pixels
# without a size, games and machines.
NO_VIDEO = """
    a64 avif bit chk cpk cvg dvd evc apv ffmeta flm fits ico m3u8 mpd rcv rgb swf vc2 dnxhd dnxhr webp xml yuv
    m4a m4b isma wma ra ogg avs
"""


def test_suffixes_of_the_muxers_with_video_are_known(tmp_path: Path) -> None:
    """FFmpeg's own list: a muxer whose default has pictures writes videos."""
    unknown = set()
    for name in sorted(av.formats_available):
        try:
            suffixes = ContainerFormat(name, "w").extensions
            with av.open(str(tmp_path / "x"), "w", format=name) as file:
                codec = file.default_video_codec
        except (ValueError, av.error.FFmpegError):
            continue
        if codec not in ("none", "png") and not name.startswith("image2"):  # png: the covers of music
            unknown |= {f".{suffix.strip().lower()}" for suffix in suffixes} - VIDEO_SUFFIXES
    assert {suffix[1:] for suffix in unknown - FRAME_SUFFIXES} - set(NO_VIDEO.split()) == set()


@pytest.fixture
def untidy(make, tmp_path: Path) -> Path:
    """A folder with one folder of frames, and with everything that is passed over."""
    top = tmp_path / "untidy"
    write_files(top, "notes.txt", "a.srt", ".DS_Store", "Thumbs.db")
    make.folder(top / "frames", [f"{i}.jpg" for i in range(10)])
    (top / ".git").mkdir()
    make.video(tmp_path / "elsewhere.mp4", 12)
    make.video(top / "mixed.mp4", 12).rename(write_files(top / "mixed", "0.jpg", "1.PNG") / "a.mp4")
    (top / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (top / "older").symlink_to(top / "frames")
    (top / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (top / "loop.mp4").symlink_to(top / "loop.mp4")
    os.mkfifo(top / "pipe.mp4")
    return top


def test_what_is_passed_over_is_named_with_the_reason(untidy: Path) -> None:
    found = search_sources(untidy)
    assert found.sources == [untidy / name for name in ("link.mp4", "frames", "mixed/a.mp4")]
    named = {str(each.path.relative_to(untidy)): each.reason for each in found.passed_over}
    assert named == {
        ".DS_Store": source_search.HIDDEN,
        ".git": source_search.HIDDEN,
        "a.srt": source_search.OTHER_TYPE,
        "notes.txt": source_search.OTHER_TYPE,
        "Thumbs.db": source_search.OTHER_TYPE,
        "gone.mp4": source_search.BROKEN_LINK,
        "loop.mp4": source_search.BROKEN_LINK,
        "older": source_search.LINKED_FOLDER,
        "pipe.mp4": source_search.SPECIAL,
        "mixed/0.jpg": source_search.BESIDE_VIDEOS,
        "mixed/1.PNG": source_search.BESIDE_VIDEOS,
    }
    assert search_sources(untidy / "older").sources == [untidy / "older"], "a linked folder that is named is searched"


def test_several_paths_are_searched_in_order(untidy: Path, tmp_path: Path) -> None:
    found = search_sources(tmp_path / "elsewhere.mp4", untidy / "mixed", tmp_path / "gone")
    assert found.sources == [tmp_path / "elsewhere.mp4", untidy / "mixed" / "a.mp4", tmp_path / "gone"]
    assert len(found.passed_over) == 2


def test_lines_name_the_first_of_many() -> None:
    passed_over = [PassedOver(Path(f"{number}.txt"), "other") for number in range(1200)]
    assert passed_over_lines([PassedOver(Path("x"), "hidden"), *passed_over]) == [
        "passed over: 1,200 (other): 0.txt, 1.txt, 2.txt, …",
        "passed over: 1 (hidden): x",
    ]


def test_a_deep_folder_is_searched(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "a.mp4").touch()
    assert find_sources(tmp_path) == [deep / "a.mp4"]


@pytest.fixture
def faces(moving_faces, tmp_path: Path) -> Path:
    """A folder of PNG frames with a face, and three files that are passed over."""
    top = tmp_path / "faces"
    (top / "frames").mkdir(parents=True)
    for number, jpeg in enumerate(moving_faces(10, 4)):
        Image.fromarray(simplejpeg.decode_jpeg(jpeg)).save(top / "frames" / f"{number}.png")
    for name in ("notes.txt", "a.srt", ".hidden"):
        (top / name).touch()
    (top / "linked").symlink_to(top / "frames")
    return top


REASONS = {source_search.OTHER_TYPE: 2, source_search.HIDDEN: 1, source_search.LINKED_FOLDER: 1}


@pytest.mark.triton
def test_score_command_names_what_it_passes_over(server, faces: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    plain = CliRunner().invoke(score, [str(faces), "--url", server.url, "--report", str(report)])
    assert plain.exit_code == 0
    assert "encoded as JPEG" in " ".join(plain.stdout.split())
    page = report.read_text()
    for name in ("notes.txt", "a.srt", ".hidden", "linked"):
        assert str(faces / name) in plain.stderr
        assert str(faces / name) not in plain.stdout
        assert str(faces / name) in page
    as_json = CliRunner().invoke(score, [str(faces), "--url", server.url, "--json"])
    result = json.loads(as_json.stdout)
    assert Counter(each["reason"] for each in result["passed_over"]) == REASONS
    assert [Path(clip["path"]).name for clip in result["clips"]] == ["frames"]
    assert as_json.stderr == ""


@pytest.mark.triton
def test_table_of_scores_comes_with_what_has_no_row(server, faces: Path) -> None:
    out = faces / "t.csv"  # the table's own files are not counted in the second run
    command = [str(faces), "--url", server.url, "--out", str(out)]
    listed = faces / "t.csv.passed_over.jsonl"
    for arguments in (command, [*command, "--json"]):
        done = CliRunner().invoke(score, arguments)
        assert done.exit_code == 0
        entries = [json.loads(line) for line in listed.read_text().splitlines()]
        assert Counter(each["reason"] for each in entries) == REASONS
        assert Path(entries[0]["path"]).parent == faces
    assert json.loads(done.stdout)["passed_over"] == REASONS
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["verdict"] in ("live", "attack")
    assert "PNG" in row["warnings"]
    for name in ("notes.txt", "a.srt", ".hidden"):
        (faces / name).unlink()
    (faces / "linked").unlink()
    assert CliRunner().invoke(score, command).exit_code == 0
    assert not listed.exists()


@pytest.mark.triton
def test_warnings_about_the_frames_reach_the_result(server, moving_faces, tmp_path: Path) -> None:
    pictures = [simplejpeg.decode_jpeg(jpeg) for jpeg in moving_faces(12, 5)]
    slow = write_video(tmp_path / "slow.mp4", 12, rate=5, picture=pictures.__getitem__)
    frozen = write_video(tmp_path / "frozen.mp4", 12, picture=lambda _: pictures[0])
    with Client(server.url) as client:
        assert any("5.0 frames/s" in warning for warning in client.score(slow, clips=2).warnings)
        assert REPEATED_PICTURES in client.score(frozen).warnings
