# SPDX-License-Identifier: Apache-2.0
"""The demo clips: H.264 files with a face in every frame, determined by the seed, without training subjects."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from eulernet.datasets.mp4 import write_mp4
from eulernet.simulation import demo_clips as demo_clips_module
from eulernet.simulation.demo_clips import CLIPS, FRAMES, MOVED_STILL, SEED
from eulernet.simulation.simulate_command import simulate

Picture = NDArray[np.uint8]
NAMES = (*CLIPS, MOVED_STILL)
Detect = Callable[[Picture], tuple[NDArray[np.float32], NDArray[np.float32], float, float]]


def make(out: Path, *arguments: str) -> Path:
    done = CliRunner().invoke(demo_clips_module.demo_clips, ["--out", str(out), *arguments])
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[0] for line in done.output.splitlines()] == [str(out / f"{name}.mp4") for name in NAMES]
    assert {path.name for path in out.iterdir()} == {f"{name}.mp4" for name in NAMES}
    return out


def decode(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", NAMES)
def test_format(demo_clips: Path, name: str) -> None:
    with av.open(str(demo_clips / f"{name}.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (30, FRAMES)
        assert (stream.width, stream.height) in {(288, 384), (352, 480), (480, 640)}


@pytest.mark.parametrize("name", NAMES)
def test_the_face_is_found_in_every_frame_and_moves_smoothly(demo_clips: Path, detect: Detect, name: str) -> None:
    found = [detect(picture) for picture in decode(demo_clips / f"{name}.mp4")]
    assert len(found) == FRAMES
    boxes = np.array([box for box, _, _, _ in found])
    assert min(score for _, _, score, _ in found) > 0.7
    assert max(second for _, _, _, second in found) < 0.5
    assert (boxes[:, 2] - boxes[:, 0]).min() > 100
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(np.diff(centres, axis=0)).max() < 15


@pytest.mark.slow
def test_frames_depend_on_the_seed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_clips_module, "FRAMES", 4)
    one, again, other = make(tmp_path / "one"), make(tmp_path / "again"), make(tmp_path / "other", "--seed", "7")
    for name in NAMES:
        assert (again / f"{name}.mp4").read_bytes() == (one / f"{name}.mp4").read_bytes()
        assert (other / f"{name}.mp4").read_bytes() != (one / f"{name}.mp4").read_bytes()


def test_the_same_pictures_give_the_same_file_whatever_was_in_memory_before(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (4, 30, 22, 3), np.uint8)  # x264 with AVX-512 read beyond rows of 22 blocks
    pictures = blocks.repeat(16, axis=1).repeat(16, axis=2)
    files = set()
    for _ in range(30):
        leftovers = [np.full(random.integers(1000, 4_000_000), random.integers(256), np.uint8) for _ in range(6)]
        del leftovers
        write_mp4(tmp_path / "pictures.mp4", pictures, Fraction(30))
        files.add((tmp_path / "pictures.mp4").read_bytes())
    assert len(files) == 1


def test_the_seed_is_not_the_training_data_s() -> None:
    option: Any = next(each for each in simulate.params if each.name == "seed")
    assert option.default != SEED


def test_rendering_needs_neither_torch_nor_the_served_models() -> None:
    check = (
        "import sys, eulernet.simulation.demo_clips, eulernet.simulation.attempt, eulernet.datasets.mp4; "
        "sys.exit(any(name.split('.')[0] in ('torch', 'eulernet_serving') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
