# SPDX-License-Identifier: Apache-2.0
"""`eulernet demo` on the real server, and failures of its steps."""

import os
import re
import signal
import subprocess
import sys

import pytest

DEMO = [sys.executable, "-m", "eulernet_core", "demo"]
EXPECTED = {
    "bona_fide": ("live", 0.98),
    "print": ("attack", 0.0),
    "replay": ("attack", 0.0),
    "moved_still": ("attack", 0.02),
}


@pytest.mark.triton
def test_the_demo_scores_its_clips_and_writes_the_report(face_models, tmp_path):
    done = subprocess.run(
        [*DEMO, "--face-models", str(face_models)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"out/demo/clips/(\w+)\.mp4 +(\w+ +[\d.]+)", done.stdout))
    for name, (verdict, liveness) in EXPECTED.items():
        found, score = rows[name].split()
        assert found == verdict
        assert float(score) == pytest.approx(liveness, abs=0.04)  # in fp32, or in int8
    report = (tmp_path / "out" / "demo" / "report.html").read_text()
    assert report.count("data:image/jpeg;base64,") == 32  # frame and face of 4 clips of 4 frames
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert sorted(each.name for each in (tmp_path / "out" / "demo").iterdir()) == ["clips", "report.html", "server.log"]


def test_a_step_that_fails_ends_the_demo_with_its_status(tmp_path):
    (tmp_path / "taken").touch()
    done = subprocess.run([*DEMO, "--out", "taken"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "taken" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


@pytest.mark.slow
@pytest.mark.triton
def test_ctrl_c_stops_the_demo(face_models, tmp_path):
    process = subprocess.Popen(
        [*DEMO, "--face-models", str(face_models)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "bona_fide.mp4" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "out" / "demo" / "report.html").exists()
