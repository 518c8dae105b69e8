# SPDX-License-Identifier: Apache-2.0
"""Sources: the clips of videos and folders, which files are found, and the errors of sources without a clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import simplejpeg

from eulernet_client import errors
from eulernet_client.sources import find_sources, iter_clips, natural_key


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


def test_empty_and_broken_jpegs_are_left_to_the_server(make, tmp_path: Path) -> None:
    folder = make.folder(tmp_path / "frames", [f"{i}.jpg" for i in range(10)])
    (folder / "3.jpg").write_bytes(b"")
    (folder / "6.jpg").write_bytes(b"no JPEG")
    (clip,) = iter_clips(folder)
    assert clip.jpegs[1:3] == [b"", b"no JPEG"]


BROKEN = {
    "missing": (lambda d, m: d / "gone.mp4", errors.MissingFileError, "gone.mp4: "),
    "short video": (lambda d, m: m.video(d / "clip.mp4", 3), errors.TooFewFramesError, "clip.mp4: 3 frames.* 10 "),
    "short folder": (
        lambda d, m: m.folder(d / "f", [f"{i}.jpg" for i in range(9)]),
        errors.TooFewFramesError,
        "f: 9 frames.* 10 ",
    ),
    "empty folder": (lambda d, m: write_files(d / "f"), errors.EmptyFolderError, "f: .*frame0.jpg"),
    "other files": (lambda d, m: write_files(d / "f", "a.png"), errors.EmptyFolderError, "f: .*frame0.jpg"),
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
