# SPDX-License-Identifier: Apache-2.0
"""Traffic read from videos and folders: which frames it takes, how streams and clips use them, unusable sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from eulernet_core.errors import EmptyFolderError, MissingFileError, TooFewFramesError, UnreadableFileError
from eulernet_loadtest.traffic import Source, Traffic, load
from tests.numbered_media import read_number, write_folder, write_video


def test_streams_play_forwards_and_backwards() -> None:
    source = Source("a", (b"0", b"1", b"2", b"3"))
    assert [source.frame(number) for number in range(14)] == [
        b"%d" % n for n in (0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1)
    ]
    traffic = Traffic((source, Source("b", tuple(b"%d" % n for n in range(9)))))
    assert traffic.clips() == ((b"0", b"1", b"2", b"3"), (b"0", b"1", b"2", b"3"), (b"4", b"5", b"6", b"7"))
    assert [traffic.source(number).path for number in range(3)] == ["a", "b", "a"]


def test_traffic_is_every_third_frame_of_a_source(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 20)
    write_folder(tmp_path / "f", [f"{number}.jpg" for number in range(14)])
    traffic = load([tmp_path / "v.mp4", tmp_path / "f"])
    assert [[read_number(jpeg) for jpeg in source.jpegs] for source in traffic.sources] == [
        [0, 3, 6, 9, 12, 15, 18],
        [0, 3, 6, 9, 12],
    ]
    assert [len(source.jpegs) for source in load([tmp_path], most_frames=5).sources] == [5, 5]


def test_unusable_sources_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", 9)
    write_folder(tmp_path / "short", [f"{number}.jpg" for number in range(9)])
    (tmp_path / "empty").mkdir()
    for name, kind, named in (
        ("short.mp4", TooFewFramesError, "9 frames"),
        ("short", TooFewFramesError, "9 frames"),
        ("empty", EmptyFolderError, "empty"),
        ("gone.mp4", MissingFileError, "gone.mp4"),
        ("x" * 300, UnreadableFileError, "xxx"),
    ):
        with pytest.raises(kind, match=named):
            load([tmp_path / name])
