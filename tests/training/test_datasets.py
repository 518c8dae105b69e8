# SPDX-License-Identifier: Apache-2.0
"""Readers: OULU-NPU's lists and counts, and clips of videos; problems are reported and do not stop them."""

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from eulernet.datasets import (
    DatasetError,
    Problems,
    Reading,
    Split,
    oulu,
    read_oulu,
    read_oulu_split,
    write_protocols,
)
from eulernet.datasets.clip_pictures import PictureClip, clip_at, picture_clips
from eulernet.datasets.oulu import FOLDERS, USERS, Name, protocol_names
from eulernet_core.clip_geometry import clip_starts
from eulernet_core.errors import MediaError, MissingFileError, NotAVideoError, TooFewFramesError

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
# Protocol -> real and attack videos of train, dev, test: the data set's documentation.
COUNTS = {
    1: ((240, 960), (180, 720), (120, 480)),
    2: ((360, 720), (270, 540), (360, 720)),
    3: ((300, 1200), (225, 900), (60, 240)),
    4: ((200, 400), (150, 300), (20, 40)),
}
RUNS = [(1, None), (2, None), *product((3, 4), range(1, 7))]
SMALL_USERS: dict[Split, range] = {"train": range(1, 3), "dev": range(21, 22), "test": range(36, 37)}


@pytest.fixture
def make_oulu(tmp_path: Path) -> Callable[..., Path]:
    """A data set in OULU-NPU's layout; the videos have one byte each, because the readers do not open them."""

    def make(users: dict[Split, range], protocols: bool = True) -> Path:
        root = tmp_path / "oulu"
        for split, folder in FOLDERS.items():
            (root / folder).mkdir(parents=True)
            for p, s, u, f in product(oulu.PHONES, oulu.SESSIONS, users[split], oulu.FILES):
                (root / folder / f"{p}_{s}_{u:02d}_{f}.avi").write_bytes(b"x")
        if protocols:
            write_protocols(root, users)
        return root

    return make


@pytest.mark.parametrize(("protocol", "fold"), RUNS)
def test_rules_give_the_documented_counts(protocol: int, fold: int | None) -> None:
    for split, expected in zip(SPLITS, COUNTS[protocol], strict=True):
        names = protocol_names(protocol, fold, split, USERS[split])
        live = sum(name.file == 1 for name in names)
        assert (live, len(names) - live) == expected
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(("protocol", "fold"), RUNS)
def test_test_set_is_new_in_what_the_protocol_tests(protocol: int, fold: int | None) -> None:
    train, test = (protocol_names(protocol, fold, split, USERS[split]) for split in ("train", "test"))
    changed = {1: ["session"], 2: ["file"], 3: ["phone"], 4: ["session", "phone", "file"]}[protocol]
    for part in changed:
        seen = [{getattr(name, part) for name in names if part != "file" or name.file > 1} for names in (train, test)]
        assert not seen[0] & seen[1], part


def test_files_lists_are_those_of_the_rules(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(USERS)
    for (protocol, fold), split in product(RUNS, SPLITS):
        listed = read_oulu(root, protocol, fold, split)
        assert not listed.problems.summary()
        rules = protocol_names(protocol, fold, split, USERS[split])
        assert [each.name for each in listed.videos] == [str(name) for name in rules]
        assert {each.split for each in listed.videos} == {split}


def test_protocol_files_have_the_data_set_s_form(tmp_path: Path) -> None:
    written = write_protocols(tmp_path, SMALL_USERS)
    assert len(written) == 42
    assert {path.name for path in (tmp_path / "Protocols" / "Protocol_1").iterdir()} == {
        "Train.txt",
        "Dev.txt",
        "Test.txt",
    }
    assert (tmp_path / "Protocols/Protocol_3/Test_6.txt").is_file()
    lines = (tmp_path / "Protocols/Protocol_4/Test_2.txt").read_text().splitlines()
    assert lines == ["+1,2_3_36_1", "-1,2_3_36_3", "-2,2_3_36_5"]


def test_without_protocol_files_the_rules_and_the_users_found_make_the_lists(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(SMALL_USERS, protocols=False)
    for (protocol, fold), split in product(RUNS, SPLITS):
        names = [each.name for each in read_oulu(root, protocol, fold, split).require()]
        assert names == [str(name) for name in protocol_names(protocol, fold, split, SMALL_USERS[split])]


def test_video_tells_all_that_its_name_says(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(SMALL_USERS)
    videos = {each.name: each for each in read_oulu_split(root, "dev").videos}
    assert len(videos) == 6 * 3 * 5
    replay = videos["6_2_21_5"]
    assert replay.path == root / "Dev_files" / "6_2_21_5.avi"
    assert (replay.label, replay.instrument, replay.subject) == ("attack", "replay2", "21")
    assert (replay.phone, replay.session, replay.split, replay.live) == (6, 2, "dev", False)
    assert (videos["1_1_21_1"].label, videos["1_1_21_1"].instrument) == ("live", "bona_fide")
    assert Counter(each.instrument for each in videos.values()) == dict.fromkeys(oulu.INSTRUMENTS.values(), 18)


@pytest.mark.parametrize(
    ("protocol", "fold", "message"),
    [(5, None, "protocol 5"), (3, None, "protocol 3, fold None"), (4, 7, "fold 7"), (1, 2, "protocol 1, fold 2")],
)
def test_no_such_protocol(protocol: int, fold: int | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_oulu(tmp_path, protocol, fold, "train")


@pytest.mark.parametrize(
    "text", ["1_1_1_1", "7_1_01_1", "1_4_01_1", "1_1_01_6", "1_1_01", "1_1_01_1_", "a", "1_1_0x_1"]
)
def test_not_a_name(text: str) -> None:
    assert Name.parse(text) is None


def test_problems_of_a_data_set_are_named_and_the_rest_is_read(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(SMALL_USERS)
    lists = root / "Protocols" / "Protocol_2"
    lines = (lists / "Dev.txt").read_text().splitlines()
    lines[0] = lines[0].replace("+1", "-1")  # 1_1_21_1 called a print
    lines[1] = lines[1].replace("-1", "-2")  # 1_1_21_2 called a replay
    lines[2] = lines[2].replace("-2", "")
    lines += ["", lines[3], "not a line", "0,1_1_21_4"]
    (lists / "Dev.txt").write_text("\r\n".join(lines))
    (root / "Dev_files" / "6_3_21_1.avi").unlink()
    (root / "Dev_files" / "6_3_21_2.avi").write_bytes(b"")
    reading = read_oulu(root, 2, None, "dev")
    assert len(reading.videos) == 54 - 5
    kinds = Counter(each.kind for each in reading.problems)
    assert kinds == {
        "label contradicts name": 2,
        "missing label": 2,
        "listed twice": 1,
        "wrong layout": 1,
        "missing video": 1,
        "unreadable video": 1,
    }
    summary = reading.problems.summary()
    assert "label contradicts name: 2" in summary
    assert re.search(r"Dev.txt:1: .*1_1_21_1.*bona_fide", summary)
    assert "6_3_21_1.avi" in summary
    assert "6_3_21_2.avi" in summary


def test_wrong_layout_is_named(make_oulu: Callable[..., Path], tmp_path: Path) -> None:
    nothing = read_oulu(tmp_path / "nowhere", 1, None, "train")
    assert nothing.problems.count("wrong layout") == 1
    with pytest.raises(DatasetError, match=r"wrong layout: 1\n.*Train_files"):
        nothing.require()
    root = make_oulu(SMALL_USERS)
    (root / "Protocols" / "Protocol_3" / "Train_4.txt").unlink()
    assert "Train_4.txt" in read_oulu(root, 3, 4, "train").problems.summary()
    assert len(read_oulu(root, 3, 5, "train").videos) == 5 * 3 * 2 * 5
    (root / "Train_files" / "holiday.avi").write_bytes(b"x")
    (root / "Train_files" / "1_1_001_1.avi").write_bytes(b"x")
    whole = read_oulu_split(root, "train")
    assert len(whole.videos) == 180
    assert whole.problems.count("wrong layout") == 2
    assert "holiday.avi" in whole.problems.summary()


def test_split_without_entries_says_why(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(SMALL_USERS)
    path = root / "Protocols" / "Protocol_1" / "Dev.txt"
    path.write_text("\n")
    reading = read_oulu(root, 1, None, "dev")
    assert reading.listed == 0
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        reading.require()
    assert read_oulu(root, 2, None, "dev").listed == 1 * 6 * 3 * 3
    shutil.rmtree(root / "Protocols")
    for number, video in enumerate((root / "Dev_files").iterdir()):
        video.rename(video.with_name(f"clip{number}.avi"))
    for named in (read_oulu(root, 1, None, "dev"), read_oulu_split(root, "dev")):
        with pytest.raises(DatasetError, match=rf"no usable video: {re.escape(str(root))}/Dev_files: "):
            named.require()


def test_summary_shows_a_few_of_many() -> None:
    problems = Problems()
    for number in range(10):
        problems.add("missing video", f"{number}.avi", "no such file")
    assert problems.summary(2).splitlines() == [
        "missing video: 10",
        "  0.avi: no such file",
        "  1.avi: no such file",
        "  and 8 more",
    ]
    assert Reading().problems.summary() == ""


def test_eyes(tmp_path: Path) -> None:
    (tmp_path / "1_1_01_1.txt").write_text("0,400,800,600,805\n1,401,800,601,805\n")
    np.testing.assert_array_equal(oulu.read_eyes(tmp_path / "1_1_01_1.txt")[1], [1, 401, 800, 601, 805])


def numbered(number: int) -> NDArray[np.uint8]:
    """Four quarters in grey; the brightness of the first is the number."""
    picture = np.full((48, 64, 3), 128, np.uint8)
    picture[:24, :32] = number * 4
    return picture


OPTIONS = {"libx264": {"crf": "10"}, "libvpx": {"crf": "4", "b": "4M"}}


def write_video(
    path: Path, frames: int, codec: str = "libx264", rotation: int | None = None, hflip: bool = False
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=OPTIONS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def numbers(clip: PictureClip) -> tuple[int, list[int]]:
    return clip.indices[0], [round(float(picture[:20, :28].mean()) / 4) for picture in clip.items]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("avi", "mjpeg"), ("avi", "libx264"), ("webm", "libvpx")]
)
@pytest.mark.parametrize(("frames", "clips"), [(10, 1), (12, 5), (50, 4)])
def test_frames_are_those_asked_for(suffix: str, codec: str, frames: int, clips: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"clip.{suffix}", frames, codec)
    got = [numbers(clip) for clip in picture_clips(path, clips)]
    starts = clip_starts(frames, clips)
    assert got == [(start, [start, start + 3, start + 6, start + 9]) for start in starts]


def test_other_lengths_and_intervals(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30)
    assert [numbers(clip) for clip in picture_clips(path, 2, frames=3, interval=5)] == [
        (2, [2, 7, 12]),
        (17, [17, 22, 27]),
    ]
    assert [numbers(clip) for clip in picture_clips(path, 1, frames=1, interval=1)] == [(14, [14])]


@pytest.mark.parametrize(("rotation", "hflip"), [(0, False), (90, False), (-90, False), (180, False), (0, True)])
def test_pictures_are_upright(rotation: int, hflip: bool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 10, rotation=rotation, hflip=hflip)
    (clip,) = picture_clips(path, 1)
    # The quarter of number 0 is black; this is its corner after the rotation (clockwise for -90) or the flip.
    corner = {
        (0, False): "top left",
        (90, False): "bottom left",
        (-90, False): "top right",
        (180, False): "bottom right",
    }
    expected = corner.get((rotation, hflip), "top right")
    for picture in clip.items:
        height, width = picture.shape[:2]
        assert (height, width) == ((64, 48) if rotation in (90, -90) else (48, 64))
        halves = {"top": slice(0, height // 2), "bottom": slice(height // 2, height)}
        sides = {"left": slice(0, width // 2), "right": slice(width // 2, width)}
        darkness = {f"{v} {h}": -float(picture[halves[v], sides[h]].mean()) for v in halves for h in sides}
        assert max(darkness, key=darkness.__getitem__) == expected


def test_video_cut_short_gives_the_clips_that_are_left(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 60, "mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    got = [numbers(clip) for clip in picture_clips(path, 2)]
    assert len(got) == 2
    for start, shown in got:
        assert start < 30
        assert shown == [start, start + 3, start + 6, start + 9]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NotAVideoError),
        (b"no video at all" * 100, NotAVideoError),
        (b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n", NotAVideoError),
        (None, MissingFileError),
    ],
)
def test_not_a_video(content: bytes | None, error: type[MediaError], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=f"{path}"):
        list(picture_clips(path, 1))


def test_noise_in_a_video_does_not_end_the_process(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30)
    whole = bytearray(path.read_bytes())
    rng, clips = np.random.default_rng(0), 0
    for _ in range(20):
        damaged = whole.copy()
        for place in rng.integers(0, len(whole), 15):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(MediaError):
            clips += len(list(picture_clips(path, 2)))
    assert 0 < clips < 40


@pytest.mark.parametrize("frames", [1, 9])
def test_too_short(frames: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", frames)
    with pytest.raises(TooFewFramesError, match=rf"clip.mp4: {frames} frames?.* 10 "):
        list(picture_clips(path, 1))


def test_clip_at_a_start(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 24)
    assert numbers(clip_at(path, 14)) == (14, [14, 17, 20, 23])
    with pytest.raises(TooFewFramesError, match=r"clip.mp4: .*frame 15 .* 25 "):
        clip_at(path, 15)


def test_partial_files_of_a_killed_writer_are_not_videos(make_oulu: Callable[..., Path]) -> None:
    root = make_oulu(SMALL_USERS, protocols=False)
    before = read_oulu_split(root, "dev"), read_oulu(root, 1, None, "dev")
    (root / "Dev_files" / ".1_1_21_1.avi.x7k2.avi").write_bytes(b"x")
    assert (read_oulu_split(root, "dev"), read_oulu(root, 1, None, "dev")) == before
