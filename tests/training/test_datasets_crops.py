# SPDX-License-Identifier: Apache-2.0
"""The cache of face crops: records, resuming after a kill, and unusable videos."""

import csv
import fcntl
import importlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch.utils.data import DataLoader

from eulernet.datasets import DatasetError, Video, crops, parallel
from eulernet.datasets.clip_pictures import picture_clips
from eulernet.datasets.clips import MOST_OPEN, ClipDataset
from eulernet.datasets.crops import CropCache, CropSettings, build_crop_cache
from eulernet.faces import DETECTOR_NAME, MESH_NAME, FaceFinder, FaceModelsError, FaceSettings, crop
from eulernet.labels import LABEL_KINDS, label_maps
from eulernet.labels.labels_picture import photographs
from eulernet_core.clip_geometry import clip_starts

SETTINGS = CropSettings(clips_per_video=3, size_px=64)
Picture = NDArray[np.uint8]


def drifting(number: int) -> Picture:
    """The astronaut's head, 240x240, moved one pixel to the right per frame."""
    matrix = np.array([[1, 0, -100 + number], [0, 1, -10]], np.float32)
    return np.asarray(cv2.warpAffine(photographs()["astronaut"], matrix, (240, 240)))


def write_video(path: Path, frames: int = 40, picture: Callable[[int], Picture] = drifting) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def live(path: Path, split: str = "train") -> Video:
    return Video(path, "live", "bona_fide", "01", 1, 1, split, path.stem)


def attack(path: Path, split: str = "train") -> Video:
    return Video(path, "attack", "print1", "01", 1, 1, split, path.stem)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    folder = tmp_path_factory.mktemp("videos")
    half = [drifting, lambda _: np.ascontiguousarray(data.coffee()[:240, :240])]
    return [
        live(write_video(folder / "1_1_01_1.mp4")),
        attack(write_video(folder / "1_1_01_2.mp4", 11)),
        live(write_video(folder / "coffee.mp4", 40, half[1])),
        live(write_video(folder / "comes.mp4", 60, lambda number: half[number < 15](number)), "dev"),
        live(write_video(folder / "short.mp4", 9)),
        *(live(path) for path in (folder / "garbage.mp4", folder / "missing.mp4") if write_garbage(path)),
    ]


def write_garbage(path: Path) -> bool:
    if path.stem == "garbage":
        path.write_bytes(b"not a video" * 1000)
    return True


@pytest.fixture(scope="module")
def cache(videos: list[Video], face_models: Path, tmp_path_factory: pytest.TempPathFactory) -> CropCache:
    return build_crop_cache(
        videos, tmp_path_factory.mktemp("cache"), face_models, SETTINGS, processes=2, progress=False
    )


def test_clips_and_labels_are_kept(cache: CropCache, videos: list[Video], face_models: Path) -> None:
    entry = cache.entries[0]
    assert entry.file is not None
    kept = np.load(entry.file, mmap_mode="r")
    assert kept.shape == (3,)
    assert kept["start"].tolist() == clip_starts(40, 3)
    finder = FaceFinder(face_models)
    for record, clip in zip(kept, picture_clips(videos[0].path, 3), strict=True):
        pictures = clip.items
        face = finder.find(pictures[0])
        assert face is not None
        np.testing.assert_array_equal(record["box"], face.box_px)
        # One box for all four frames: the face moves in it.
        np.testing.assert_array_equal(record["crops"], [crop(each, face.box_px, 64) for each in pictures])
        points = finder.landmarks(pictures[0], face)
        assert points is not None
        np.testing.assert_array_equal(record["labels"], label_maps(points, face.box_px))
        scaled = label_maps(record["landmarks"], np.array([0, 0, 64, 64], np.float32))
        np.testing.assert_allclose(record["labels"], scaled, atol=0.01)  # landmarks are in px of the crop


def test_useless_videos_are_named_and_the_rest_is_cached(cache: CropCache) -> None:
    assert [(entry.video.name, entry.clips, entry.clips_without_face) for entry in cache.entries] == [
        ("1_1_01_1", 3, 0),
        ("1_1_01_2", 2, 0),
        ("coffee", 0, 3),
        ("comes", 2, 1),
        ("short", 0, 0),
        ("garbage", 0, 0),
        ("missing", 0, 0),
    ]
    summary = cache.problems.summary()
    assert cache.problems.count("no face") == 1
    assert cache.problems.count("unreadable video") == 3
    assert "comes: 1 of 3" in summary
    assert re.search(r"coffee.mp4: .* 3 clips", summary)
    assert re.search(r"short.mp4: 9 frames.* 10 ", summary)
    with (cache.folder / "index.csv").open() as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 7
    assert rows["1_1_01_2"]["instrument"] == "print1"
    assert rows["comes"]["clips_without_face"] == "1"
    assert rows["coffee"]["problem"].startswith("no face: ")
    assert (cache.folder / rows["1_1_01_1"]["file"]).is_file()
    assert rows["garbage"]["file"] == ""


def test_many_videos_need_few_open_files(cache: CropCache) -> None:
    many = ClipDataset(replace(cache, entries=cache.entries[:2] * 200))
    before = len(list(Path("/proc/self/fd").iterdir()))
    starts = [many.start(i) for i in range(len(many))]
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= MOST_OPEN < 400
    assert starts == [many.start(i) for i in range(5)] * 200  # closed maps are opened again


def states(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.np[yz]")}


def test_finished_videos_are_not_redone(cache: CropCache, videos: list[Video], face_models: Path) -> None:
    before = states(cache.folder)
    again = build_crop_cache(videos[:4], cache.folder.parent, face_models, SETTINGS, 1, progress=False)
    assert again.entries == cache.entries[:4]
    assert states(cache.folder) == before
    with (cache.folder / "index.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 7  # the others are not forgotten


def test_changed_video_is_redone(videos: list[Video], face_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "1_1_01_1.mp4"
    path.write_bytes(videos[0].path.read_bytes())
    first = build_crop_cache([live(path)], tmp_path / "cache", face_models, SETTINGS, 1, progress=False)
    write_video(path, 12)
    second = build_crop_cache([live(path)], tmp_path / "cache", face_models, SETTINGS, 1, progress=False)
    assert (first.entries[0].clips, second.entries[0].clips) == (3, 3)
    assert np.load(second.entries[0].file)["start"].tolist() == clip_starts(12, 3)


@pytest.mark.parametrize(
    "changed",
    [
        replace(SETTINGS, clips_per_video=4),
        replace(SETTINGS, size_px=32),
        replace(SETTINGS, label_side=16),
        replace(SETTINGS, frames=3),
        replace(SETTINGS, interval=2),
        replace(SETTINGS, face=FaceSettings(box_scale=1.7)),
    ],
)
def test_changed_parameters_make_another_cache(
    changed: CropSettings, videos: list[Video], face_models: Path, tmp_path: Path
) -> None:
    assert changed.key(face_models) != SETTINGS.key(face_models)
    made = build_crop_cache(videos[1:2], tmp_path, face_models, changed, 1, progress=False)
    record = np.load(made.entries[0].file)
    size, side = changed.size_px, changed.label_side
    assert record["crops"].shape[1:] == (changed.frames, size, size, 3)
    assert record["labels"].shape[1:] == (len(LABEL_KINDS), side, side)
    assert json.loads((made.folder / "parameters.json").read_text())["interval"] == changed.interval


def test_changed_face_models_make_another_cache(face_models: Path, tmp_path: Path) -> None:
    for name in (DETECTOR_NAME, MESH_NAME):
        (tmp_path / name).write_bytes((face_models / name).read_bytes())
    assert SETTINGS.key(tmp_path) == SETTINGS.key(face_models)
    (tmp_path / MESH_NAME).write_bytes(b"another")
    assert SETTINGS.key(tmp_path) != SETTINGS.key(face_models)


def test_missing_face_models_name_the_remedy(videos: list[Video], tmp_path: Path) -> None:
    with pytest.raises(FaceModelsError, match="eulernet face-models"):
        build_crop_cache(videos, tmp_path / "cache", tmp_path, SETTINGS, 1, progress=False)
    assert not (tmp_path / "cache").exists()


def test_cache_that_can_not_be_written_is_named(videos: list[Video], face_models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="file"):
        build_crop_cache(videos[:1], tmp_path / "file", face_models, SETTINGS, 1, progress=False)


BUILD = """
import sys
from pathlib import Path
from eulernet.datasets import read_manifest
from eulernet.datasets.crops import CropSettings, build_crop_cache
if __name__ == "__main__":
    manifest, root, face_models = map(Path, sys.argv[1:4])
    build_crop_cache(read_manifest(manifest).videos, root, face_models, CropSettings(clips_per_video=3, size_px=64))
"""


@pytest.mark.slow
def test_build_goes_on_after_a_kill(face_models: Path, tmp_path: Path) -> None:
    names = [f"{number:02d}.mp4" for number in range(12)]
    first = write_video(tmp_path / names[0], 120).read_bytes()
    for name in names:
        (tmp_path / name).write_bytes(first)
    rows = "".join(f"{name},live,,{name},train\n" for name in names)
    manifest, root = tmp_path / "videos.csv", tmp_path / "cache"
    manifest.write_text("path,label,instrument,subject,split\n" + rows)
    (tmp_path / "build.py").write_text(BUILD)
    command = [sys.executable, str(tmp_path / "build.py"), str(manifest), str(root), str(face_models)]
    folder = root / SETTINGS.key(face_models)

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as builder:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.json"))) < 4 and time.monotonic() < deadline:  # parameters.json and three videos
            assert builder.poll() is None, builder.stderr and builder.stderr.read()
            time.sleep(0.005)
        workers = psutil.Process(builder.pid).children()
        os.kill(builder.pid, signal.SIGKILL)
    assert len(workers) >= 2
    assert not psutil.wait_procs(workers, timeout=20)[1]  # all of them have ended
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("[0-9]*.json")}
    assert 2 <= len(finished) < 12
    assert not (folder / "index.csv").exists()

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert f"{12 - len(finished)}/{12 - len(finished)}" in done.stderr  # the bar counts the missing videos
    now = {path.name: path.stat().st_mtime_ns for path in folder.glob("[0-9]*.json")}
    assert len(now) == 12
    assert finished.items() <= now.items()
    assert [path.name for path in folder.glob(".*")] == [".lock"]
    contents = {path.read_bytes() for path in folder.glob("*.npy")}
    assert len(contents) == 1  # of equal videos


def test_two_builders_do_not_meet(videos: list[Video], face_models: Path, tmp_path: Path) -> None:
    """The second builder waits for the first and has nothing left to do."""
    (tmp_path / "build.py").write_text(BUILD)
    manifest, root = tmp_path / "videos.csv", tmp_path / "cache"
    rows = "".join(f"{video.path},live,,{video.name},train\n" for video in videos[:4])
    manifest.write_text("path,label,instrument,subject,split\n" + rows)
    folder = root / SETTINGS.key(face_models)
    command = [sys.executable, str(tmp_path / "build.py"), str(manifest), str(root), str(face_models)]
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        builders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for builder in builders:
            assert builder.stderr is not None
            assert str(folder) in builder.stderr.readline()
        assert not list(folder.glob("*.npy"))
    said = [builder.communicate(timeout=60)[1] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sorted("4/4" in each for each in said) == [False, True]
    assert len(list(folder.glob("*.npy"))) == 3


CRASH = """
import os, signal
from pathlib import Path
def work(job, tool):
    if job == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    Path(tool, job).write_text("done")
"""


def test_crash_costs_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashing_job.py").write_text(CRASH)
    monkeypatch.syspath_prepend(str(tmp_path))  # spawned processes inherit it
    out = tmp_path / "out"
    out.mkdir()
    work = importlib.import_module("crashing_job").work
    answers = dict(parallel.run(work, ["a", "b", "bad", "c", "d"], str, (str(out),), 2))
    assert answers == {"a": None, "b": None, "c": None, "d": None, "bad": parallel.CRASHED}
    assert {path.name for path in out.iterdir()} == {"a", "b", "c", "d"}


def test_crashed_video_is_named_and_tried_again(videos: list[Video], face_models: Path, tmp_path: Path) -> None:
    def crashes(*_: object) -> object:
        return iter([(crops._Job(videos[0].path, folder / crops._file_name(videos[0]), SETTINGS), parallel.CRASHED)])

    folder = tmp_path / SETTINGS.key(face_models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "run", crashes)
        made = build_crop_cache(videos[:1], tmp_path, face_models, SETTINGS, 1, progress=False)
    assert made.problems.count("unreadable video") == 1
    assert "crashed" in made.entries[0].problem
    assert build_crop_cache(videos[:1], tmp_path, face_models, SETTINGS, 1, progress=False).entries[0].clips == 3


def test_data_set(cache: CropCache) -> None:
    dataset = ClipDataset(cache)
    assert len(dataset) == 3 + 2 + 2
    for i in range(len(dataset)):
        clip, label, is_live, index = dataset[i]
        assert (clip.shape, clip.dtype) == ((4, 64, 64, 3), torch.uint8)
        assert (label.shape, label.dtype) == ((32, 32), torch.float32)
        assert (is_live.shape, is_live.dtype, index) == ((), torch.float32, i)
        assert is_live == dataset.video(i).live
        assert (label.max() > 0.9) == dataset.video(i).live  # an attack's target is 0 everywhere
        assert clip.float().std() > 20
    assert [dataset.start(i) for i in range(3)] == clip_starts(40, 3)
    assert len(ClipDataset(cache, splits=["dev"])) == 2
    assert len(ClipDataset(cache, splits=["test"])) == 0


def test_data_set_of_each_kind(cache: CropCache) -> None:
    maps = {kind: ClipDataset(cache, kind)[0][1] for kind in LABEL_KINDS}
    assert set(maps["mask"].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(maps["location"], maps["depth"])


def test_clips_without_landmarks_count_in_evaluation_only(
    videos: list[Video], face_models: Path, tmp_path: Path
) -> None:
    strict = replace(SETTINGS, face=FaceSettings(min_presence=1.1))
    made = build_crop_cache(videos[:2], tmp_path, face_models, strict, 1, progress=False)
    assert {ClipDataset(made).video(i).label for i in range(len(ClipDataset(made)))} == {"attack"}
    evaluated = ClipDataset(made, labelled=False)
    assert len(evaluated) == 5
    assert not evaluated[0][1].any()


@pytest.mark.slow
def test_data_set_goes_to_loader_processes(cache: CropCache) -> None:
    dataset = ClipDataset(cache)
    dataset[0]
    assert len(pickle.dumps(dataset)) < 20_000  # without pixels
    loader = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    clips, labels, lives, indices = (torch.cat(part) for part in zip(*loader, strict=True))
    assert indices.tolist() == list(range(7))
    for i in (0, 6):
        torch.testing.assert_close(clips[i], dataset[i][0])
        torch.testing.assert_close(labels[i], dataset[i][1])
    assert lives.tolist() == [float(dataset.video(i).live) for i in range(7)]
