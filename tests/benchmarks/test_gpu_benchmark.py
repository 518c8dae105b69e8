# SPDX-License-Identifier: Apache-2.0
"""The GPU benchmark without a GPU: wheels in pieces, plans, the page, the model on paper, and the cost of locating."""

import json
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import jinja2
import numpy as np
import pytest

from benchmarks.gpu import gpu_page, wheel_pieces
from benchmarks.gpu.__main__ import Numbers, on_paper, surroundings
from benchmarks.gpu.gpu_loads import LoadSettings, gpu_use
from benchmarks.gpu.stage_cost import LocateCost, StageCost, cores_for, locate_cost
from benchmarks.gpu.wheel_pieces import LIST, PiecesError, join, split
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.traffic import Source, Traffic
from tests.conftest import FACE_MODELS, ROOT

LOAD_BYTES = 4096


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Files smaller than, as large as, and larger than a load, and an empty one."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (("a.whl", 10), ("b.whl", LOAD_BYTES), ("c-1.0.whl", 3 * LOAD_BYTES + 7), ("d.whl", 0)):
        (folder / name).write_bytes(random.bytes(size))
    return folder


def test_pieces_are_joined_to_the_same_files(wheels: Path, tmp_path: Path) -> None:
    loads = split(wheels, tmp_path / "pieces", LOAD_BYTES)
    assert len(loads) > 4
    assert all(sum(path.stat().st_size for path in load.iterdir()) <= LOAD_BYTES for load in loads)
    made = join(tmp_path / "pieces", tmp_path / "joined")
    assert {path.name: path.read_bytes() for path in made} == {
        path.name: path.read_bytes() for path in wheels.iterdir()
    }


def test_shrunk_wheels_come_back_with_the_same_files(tmp_path: Path) -> None:
    source, content = tmp_path / "wheels", {"a/b.py": b"x = 1\n" * 5000, "a/c.so": bytes(50_000)}
    source.mkdir()
    with zipfile.ZipFile(source / "a-1.0.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in content.items():
            wheel.writestr(name, data)
    wheel_pieces.shrink(source)
    assert [path.name for path in source.iterdir()] == ["a-1.0.whl.xz"]
    split(source, tmp_path / "pieces", LOAD_BYTES)
    (made,) = join(tmp_path / "pieces", tmp_path / "joined")
    assert made.name == "a-1.0.whl"
    assert [path.name for path in (tmp_path / "joined").iterdir()] == ["a-1.0.whl"]
    with zipfile.ZipFile(made) as wheel:
        assert {each.filename: wheel.read(each.filename) for each in wheel.infolist()} == content


def test_a_missing_or_damaged_piece_is_named(wheels: Path, tmp_path: Path) -> None:
    loads = split(wheels, tmp_path / "pieces", LOAD_BYTES)
    piece = next(path for path in sorted(loads[1].iterdir()) if path.name != LIST)
    piece.write_bytes(bytes(len(piece.read_bytes())))
    with pytest.raises(PiecesError, match=piece.name.rpartition(".")[0]):
        join(tmp_path / "pieces", tmp_path / "joined")
    shutil.rmtree(loads[-1])
    with pytest.raises(PiecesError, match=r"c-1\.0\.whl"):
        join(tmp_path / "pieces", tmp_path / "joined")
    assert {path.name for path in (tmp_path / "joined").iterdir()} <= {"a.whl", "b.whl", "d.whl"}


def test_nothing_to_split_or_to_join(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PiecesError, match="no files"):
        split(tmp_path / "empty", tmp_path / "pieces")
    with pytest.raises(PiecesError, match="no loads"):
        join(tmp_path / "empty", tmp_path / "joined")
    assert wheel_pieces.main(["join", str(tmp_path / "empty"), str(tmp_path / "joined")]) == 1


def test_everything_but_torch_is_carried() -> None:
    names = {line.partition("==")[0] for line in wheel_pieces.requirements()}
    assert {"nvidia-pytriton", wheel_pieces.DALI, "openvino", "pytest", "tritonclient", "grpcio"} <= names
    assert not names & {"torch", "eulernet"}
    fewer = {line.partition("==")[0] for line in wheel_pieces.requirements(without=[wheel_pieces.DALI])}
    assert names - fewer >= {wheel_pieces.DALI, "nvidia-nvimgcodec-cu12"}


def test_loads_of_each_kind() -> None:
    plans = list(LoadSettings(seconds=3.0, clips=(1, 8), streams=(4,), real_time=(100, 1000)).plans())
    assert [(plan.mode, plan.concurrency, plan.fps) for plan in plans] == [
        (Mode.CLIPS, 1, None),
        (Mode.CLIPS, 8, None),
        (Mode.STREAMS, 4, None),
        (Mode.STREAMS, 100, 10.0),
        (Mode.STREAMS, 1000, 10.0),
    ]
    assert {plan.duration_s for plan in plans} == {3.0}
    assert [plan.late_s for plan in plans] == [None, None, None, 0.1, 0.1]
    assert Numbers().convert("1,8", None, None) == (1, 8)


def test_the_use_of_a_gpu_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in place of nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '50, 20, 1000'\necho '100, 40, 3000'\necho '[N/A], 1, 1'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with gpu_use() as use:
        for _ in range(1000):
            if len(use.samples) == 2:
                break
            time.sleep(0.01)
    assert use.means() == {"busy_percent": 75.0, "memory_busy_percent": 30.0, "memory_mib": 2000.0}
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with gpu_use() as use:
        pass
    assert use.means() is None


COSTS = [
    StageCost("streams", "face_crop", 1, 0.2),
    StageCost("streams", "tritonserver", 1, 0.3),
    StageCost("streams", "eulernet", 1, 5.0),
    StageCost("clips", "tritonserver", 1, 0.1),
]


def test_cores_on_paper() -> None:
    assert cores_for(10_000, COSTS, Mode.STREAMS, ("face_crop", "tritonserver", "absent")) == {
        "face_crop": pytest.approx(2.0),
        "tritonserver": pytest.approx(3.0),
    }
    locate = LocateCost(held=0.1, checked=0.6, first=1.1, detector=0.3)
    assert locate.stream_ms() == pytest.approx(0.2)
    assert locate.clip_ms() == pytest.approx(0.35)


def test_locating_costs_something(moving_faces: Callable[[int, int], list[bytes]]) -> None:
    traffic = Traffic((Source("faces", tuple(moving_faces(8, 0))),))
    cost = locate_cost(traffic, FACE_MODELS / "face_detector.onnx", frames=8)
    assert 0 < cost.held < cost.checked
    assert cost.held < cost.first
    assert cost.detector > 0


def results() -> dict:
    row = {
        "mode": "streams",
        "concurrency": 1000,
        "throughput_fps": 9_990.0,
        "p50_ms": 20.0,
        "p99_ms": 80.0,
        "requests": 50_000,
        "not_ok": 3,
        "server_cores": 9.0,
        "client_cores": 5.0,
        "stages": {"eulernet": {"busy": 0.5, "batch": 16.0, "instances": 2}},
        "fps": 10.0,
        "gpu": {"busy_percent": 70.0, "memory_busy_percent": 30.0, "memory_mib": 4000.0},
    }
    peer = {
        "concurrency": 8,
        "frames_per_s": 900.0,
        "p50_ms": 30.0,
        "p99_ms": 60.0,
        "errors": 0,
        "setting": "16 processes",
    }
    traffic = Traffic((Source("faces", (b"12345",) * 4),))
    return {
        **surroundings(traffic, "640x480"),
        "device": "NVIDIA H100",
        "checks": [{"command": "eulernet gpu-check", "outcome": "112 passed", "passed": True}],
        "chosen": ["eulernet_0_0: network by torch"],
        "servers": [{"title": "GPU server", "loads": [row, {**row, "gpu": None, "fps": None}]}],
        "fastapi": [peer],
        "ratio": 11.1,
        "locate": asdict(LocateCost(0.1, 0.6, 1.1, 0.3)),
        "costs": [asdict(cost) for cost in COSTS],
        "paper": on_paper(10_000.0, COSTS),
    }


def test_the_page_gets_the_tables(tmp_path: Path) -> None:
    text = gpu_page.tables(json.loads(json.dumps(results())))
    for part in (
        "NVIDIA H100",
        "| 1000 streams at 10 frames/s | 9,990 |",
        "70 %",
        "11.1 times",
        "2.00 cores for `face_crop`",
    ):
        assert part in text, text
    page = tmp_path / "gpu.md"
    shutil.copy(ROOT / "docs" / "gpu.md", page)
    before = page.read_text()
    gpu_page.write_into(page, text)
    gpu_page.write_into(page, text)  # again: the old tables go
    assert page.read_text().count("NVIDIA H100") == 1
    assert page.read_text().partition(gpu_page.BEGIN)[0] == before.partition(gpu_page.BEGIN)[0]
    assert page.read_text().partition(gpu_page.END)[2] == before.partition(gpu_page.END)[2]
    page.write_text("no marks")
    with pytest.raises(gpu_page.PageError):
        gpu_page.write_into(page, text)


def test_a_part_that_was_left_out_has_no_table() -> None:
    text = gpu_page.tables({**results(), "fastapi": [], "costs": []})
    assert "FastAPI" not in text
    assert "Processor time" not in text
    with pytest.raises(jinja2.UndefinedError):
        gpu_page.tables({"created": "today"})
