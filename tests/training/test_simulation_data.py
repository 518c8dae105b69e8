# SPDX-License-Identifier: Apache-2.0
"""The simulated data set: layout, reproducible bytes, faces for the served detector, flat attacks, bad arguments."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from eulernet.datasets.oulu import Name, read_eyes, read_oulu
from eulernet.simulation import attempt as attempt_module
from eulernet.simulation import light as light_module
from eulernet.simulation.attempt import Attempt, subject_of
from eulernet.simulation.data_set_folder import LayoutError, prepare
from eulernet.simulation.presets import PRESETS, split_users
from eulernet.simulation.rendering import make_video, simulate
from eulernet.simulation.shortcuts import NAMES, compare, fit, statistics
from eulernet.simulation.simulate_command import simulate as command

SEED = 5
QUICK = replace(PRESETS["tiny"], height_px=128, width_px=96, frames=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The five files of one subject at full size: {file code: path}."""
    root = tmp_path_factory.mktemp("videos")
    (root / "Train_files").mkdir()
    return {
        file: make_video(root, "train", Name(1 + file, 1 + file % 3, 4, file), SEED, PRESETS["tiny"])
        for file in range(1, 6)
    }


def pictures(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.slow
def test_layout_names_and_lists(tmp_path):
    root = tmp_path / "set"
    made, total = simulate(root, SEED, QUICK, jobs=2)
    assert (made, total) == (270, 270)
    names = {path.stem for path in (root / "Train_files").glob("*.avi")}
    assert names == {f"{p}_{s}_01_{f}" for p in range(1, 7) for s in range(1, 4) for f in range(1, 6)}
    assert {path.suffix for path in (root / "Dev_files").iterdir()} == {".avi", ".txt"}
    assert (root / "Test_files" / "6_3_36_5.avi").is_file()
    assert len(pictures(root / "Train_files" / "1_1_01_1.avi")) == QUICK.frames
    assert read_eyes(root / "Train_files" / "1_1_01_1.txt").shape == (QUICK.frames, 5)
    reading = read_oulu(root, 4, 6, "test")
    assert len(reading.videos) == 3
    assert not len(reading.problems)
    assert simulate(root, SEED, QUICK, jobs=1) == (0, 270)
    with pytest.raises(LayoutError, match="seed 5"):
        simulate(root, SEED + 1, QUICK, jobs=1)


@pytest.mark.slow
def test_same_seed_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from eulernet.datasets.oulu import Name; from eulernet.simulation.presets import PRESETS\n"
        "from eulernet.simulation.rendering import make_video\n"
        "preset = replace(PRESETS['tiny'], height_px=128, width_px=96, frames=2)\n"
        "root = Path(sys.argv[1]); (root / 'Train_files').mkdir(parents=True)\n"
        "[make_video(root, 'train', Name(3, 2, 1, f), int(sys.argv[2]), preset) for f in range(1, 6)]\n"
    )
    sets = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name), str(seed)], check=True)
        sets.append({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()})
    assert len(sets[0]) == 10
    assert sets[0] == sets[1]
    assert all(sets[0][name] != sets[2][name] for name in sets[0] if name.endswith(".avi"))


def finished(root):
    return [path for path in root.rglob("*.avi") if not path.name.startswith(".")]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_only_whole_files(tmp_path):
    root = tmp_path / "set"
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from eulernet.simulation.presets import PRESETS; from eulernet.simulation.rendering import simulate\n"
        "preset = replace(PRESETS['tiny'], height_px=128, width_px=96, frames=2)\n"
        "simulate(Path(sys.argv[1]), 5, preset, jobs=1)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(root)])
    deadline = time.monotonic() + 60
    while len(finished(root)) < 5:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    whole = {path: path.read_bytes() for path in finished(root)}
    assert 5 <= len(whole) < 270
    for path in whole:
        assert len(pictures(path)) == QUICK.frames
        assert path.with_suffix(".txt").is_file()
    (root / "Train_files" / ".1_1_01_1.avi.x7k2.avi").write_bytes(b"partial")
    made, total = simulate(root, 5, QUICK, jobs=2)
    assert made == total - len(whole)
    assert not list(root.rglob(".*"))
    assert all(path.read_bytes() == data for path, data in whole.items())


@pytest.mark.slow
def test_the_served_detector_finds_the_faces_and_the_eyes_are_where_the_file_says(videos, detect):
    for file, path in videos.items():
        eyes = read_eyes(path.with_suffix(".txt"))
        frames = pictures(path)
        assert len(frames) == len(eyes) == PRESETS["tiny"].frames
        for index in (0, len(frames) // 2, len(frames) - 1):
            box, keypoints, score, _ = detect(frames[index])
            width = box[2] - box[0]
            assert score >= 0.7, (file, index)
            assert width >= 190, (file, index)
            error = np.abs(keypoints[:2] - eyes[index, 1:].reshape(2, 2)).max()
            assert error < 0.1 * width, (file, index)


def tracks(file, preset=None):
    """The 468 points over a video, (frames, 468, 2) px, without the camera's motion."""
    preset = preset or replace(PRESETS["tiny"], height_px=256, width_px=192, frames=30)
    attempt = Attempt(Name(1, 1, 4, file), SEED, preset)
    if file in (2, 3):
        attempt.scene._curvature = 0.0
    return np.stack([frame.points for frame in attempt.light_frames()])


def flatness_px(points):
    """Median distance of the last frame's points from the best homography of the first frame's points."""
    worst = 0.0
    for later in points[5::8]:
        matrix, _ = cv2.findHomography(points[0], later)
        moved = cv2.perspectiveTransform(points[:1], matrix)[0]
        worst = max(worst, float(np.median(np.linalg.norm(moved - later, axis=1))))
    return worst


def test_a_print_is_a_plane_and_a_live_face_is_not():
    assert flatness_px(tracks(2)) < 0.02
    assert flatness_px(tracks(1)) > 0.3


@pytest.mark.parametrize("file", [2, 3, 4, 5])
@pytest.mark.parametrize("session", [1, 2, 3])
def test_an_attack_shows_a_face_in_the_light_of_its_own_session(monkeypatch, file, session):
    drawn = []

    def draw(rng, number):
        drawn.append(number)
        return drawing(rng, number)

    drawing = light_module.draw_light

    # In all places that draw it: for the presented face and for the room of the presentation.
    for module in (attempt_module, light_module):
        monkeypatch.setattr(module, "draw_light", draw)
    Attempt(Name(1, session, 4, file), SEED, replace(PRESETS["tiny"], height_px=256, width_px=192, frames=3))
    assert drawn == [session] * 2


def test_a_print_has_no_pulse_and_no_blink_and_a_replay_blinks():
    preset = replace(PRESETS["tiny"], height_px=256, width_px=192, frames=3)
    printed = Attempt(Name(1, 1, 4, 2), SEED, preset).scene
    rest = printed.pose(0.0)
    printed.pose = lambda _: rest
    assert np.array_equal(printed.frame(0.0).picture, printed.frame(0.4).picture)
    replayed = Attempt(Name(1, 1, 4, 4), SEED, replace(preset, height_px=512, width_px=384)).scene
    replayed._video.person._blinks = [(0.3, 0.2)]
    replayed._moire = 0.0
    pictures = [replayed.frame(time_s) for time_s in (0.0, 0.3)]

    def change(above_px):
        """Contrast in a window that follows the eye, or in the skin above it, as a share of its brightness."""
        windows = []
        for frame in pictures:
            x, y = frame.eyes[0].round().astype(int)
            window = frame.picture[y - above_px - 5 : y - above_px + 6, x - 14 : x + 15]
            windows.append(window / window.mean())
        return np.abs(windows[1] - windows[0]).mean()

    # An open eye has a dark iris in a bright eyeball, a closed eye is skin.
    assert change(0) > 4 * change(40)


def test_users_keep_the_originals_proportions():
    assert {split: len(numbers) for split, numbers in split_users(55).items()} == {"train": 20, "dev": 15, "test": 20}
    assert split_users(22) == {"train": list(range(1, 9)), "dev": list(range(21, 27)), "test": list(range(36, 44))}
    assert split_users(3) == {"train": [1], "dev": [21], "test": [36]}
    for users in range(3, 56):
        split = split_users(users)
        assert sum(map(len, split.values())) == users
        assert min(map(len, split.values())) >= 1
    with pytest.raises(ValueError, match="56 users"):
        split_users(56)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out"),
        (["--users", "2"], "2 is not in the range 3<=x<=55"),
        (["--users", "56"], "56 is not in the range"),
        (["--preset", "huge"], "huge"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--jobs", "0"], "0 is not in the range"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    out = [] if not arguments else ["--out", str(tmp_path / "set")]
    result = CliRunner().invoke(command, [*out, *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "set").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    result = CliRunner().invoke(command, ["--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_record_says_that_it_is_simulated(tmp_path):
    prepare(tmp_path, SEED, QUICK)
    record = json.loads((tmp_path / "simulated.json").read_text())
    assert record["simulated"] is True
    assert record["seed"] == SEED
    assert record["version"] == QUICK.version == 3
    with pytest.raises(LayoutError, match="version 3"):
        prepare(tmp_path, SEED, replace(QUICK, version=4))


def test_statistics_and_regression_find_a_shortcut_that_is_there(videos):
    assert statistics(videos[1]).shape == (len(NAMES),)
    random = np.random.default_rng(0)
    normal = {
        split: {
            "bona_fide": random.normal(0, 1, (60, len(NAMES))),
            "print1": random.normal(0, 1, (60, len(NAMES))),
            "replay1": random.normal(0, 1, (60, len(NAMES))) + np.eye(len(NAMES))[0] * 2,
        }
        for split in ("train", "test")
    }
    found = compare(normal["train"], normal["test"])
    assert found["replay1"] > 0.85
    assert 0.3 < found["print1"] < 0.7
    model = fit(np.zeros((4, 2)), np.array([True, True, False, False]))
    assert np.isfinite(model(np.ones((1, 2)))).all()
    assert subject_of(SEED, 4, 3) is subject_of(SEED, 4, 3)
