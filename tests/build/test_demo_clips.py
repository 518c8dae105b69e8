"""The demo clips: real H.264 files, the face found in every frame, the same frames from the same seed."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner
from eulernet_build import demo_clips
from eulernet_build.demo_clips import ATTACKS, Pose
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Detect = Callable[[Picture], tuple[NDArray[np.float32], NDArray[np.float32], float, float]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the clips, made by the command."""
    out = tmp_path_factory.mktemp("clips")
    done = CliRunner().invoke(demo_clips.demo_clips, ["--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[0] for line in done.output.splitlines()] == [str(out / f"{name}.mp4") for name in ATTACKS]
    assert {path.name for path in out.iterdir()} == {f"{name}.mp4" for name in ATTACKS}
    return out


def decode(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ATTACKS)
def test_format(clips: Path, name: str) -> None:
    with av.open(str(clips / f"{name}.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate, stream.frames) == (640, 480, 30, 60)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_face_is_found_in_every_frame_and_moves_smoothly(clips: Path, detect: Detect, name: str) -> None:
    found = [detect(picture) for picture in decode(clips / f"{name}.mp4")]
    assert len(found) == 60
    boxes = np.array([box for box, _, _, _ in found])
    assert min(score for _, _, score, _ in found) > 0.85
    assert max(second for _, _, _, second in found) < 0.5
    shares = (boxes[:, 2] - boxes[:, 0]) / 640
    assert 0.25 < shares.min() < shares.max() < 0.5
    assert (boxes >= 0).all()
    assert (boxes <= [640, 480, 640, 480]).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(np.diff(centres, axis=0)).max() < 15
    assert np.ptp(centres, axis=0).max() > 15


@pytest.mark.parametrize("name", ATTACKS)
def test_frames_depend_on_the_seed_only(clips: Path, name: str) -> None:
    once, again, other = (np.stack(list(islice(ATTACKS[name](seed), 3))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).mean() > 0.5
    decoded = np.stack(decode(clips / f"{name}.mp4")[:3])
    assert np.sqrt(np.mean((decoded.astype(float) - once) ** 2)) < 8  # what is written is what was rendered


def test_a_failing_source_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def breaks_off() -> Iterator[Picture]:
        yield np.zeros((48, 64, 3), np.uint8)
        raise RuntimeError("camera unplugged")

    path = tmp_path / "clip.mp4"
    path.write_bytes(b"what was there")
    with pytest.raises(RuntimeError, match="camera unplugged"):
        demo_clips.write_h264(path, breaks_off(), 30)
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def project(pose: Pose, u: float, v: float) -> NDArray[Any]:
    """Pixel that shows the sheet's point (u, v): the cylinder's arc, turned, moved, seen by the pinhole."""
    pitch, yaw, roll = pose.turn
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    k = pose.curvature
    on_sheet = np.array([u, v, 0.0]) if k == 0 else np.array([s(k * u) / k, v, (1 - c(k * u)) / k])
    x, y, z = about_x @ about_y @ about_z @ on_sheet + pose.position
    return np.array([319.5 + 800 * x / z, 239.5 + 800 * y / z])


@pytest.mark.parametrize("curvature", [0.0, 0.02, 0.9, -0.6])
def test_rays_meet_the_sheet_where_its_points_project(curvature: float) -> None:
    pose = Pose((0.1, -0.3, 0.05), (0.02, -0.03, 1.6), curvature)
    u, v = demo_clips._sheet_coordinates(pose)
    for column, row in ((100, 50), (319, 240), (320, 400), (520, 120)):
        pixel = project(pose, float(u[row, column]), float(v[row, column]))
        np.testing.assert_allclose(pixel, [column, row], rtol=0, atol=0.01)
