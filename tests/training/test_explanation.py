# SPDX-License-Identifier: Apache-2.0
"""`eulernet explain` shows the values of the weights: gates, responses and maps, compared with scipy and by hand."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from scipy import signal

from eulernet.datasets.clip_pictures import picture_clips
from eulernet.datasets.mp4 import write_mp4
from eulernet.explanation import attention_picture as picture
from eulernet.explanation.attention import Attention, attend, coefficients, response
from eulernet.explanation.attention_picture import Shown
from eulernet.explanation.clip import face_clip
from eulernet.explanation.explain_command import explain
from eulernet.faces import FaceFinder, crop
from eulernet.learning.checkpoint import Checkpoint, save
from eulernet.network import EulerNet, NetworkConfig, create
from eulernet.simulation.data_set_folder import RECORD
from eulernet_core.errors import TooFewFramesError
from eulernet_core.limits import FACE_TOO_SMALL

Pixels = NDArray[np.uint8]
SMALL = NetworkConfig(image_size=64, widths=(8, 8, 16, 16), compressed_channels=2, pyramid_width=8)
PLAIN = dataclasses.replace(SMALL, frame_difference="none", differential=False)
WITHOUT = NetworkConfig(fcam=False, image_size=64)


def trained(config: NetworkConfig = SMALL, seed: int = 3) -> EulerNet:
    """A network with changed filters and statistics."""
    network = create(seed, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if ".filter." in name or "running_mean" in name:
                value += 0.3 * torch.randn(value.shape, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def videos(portrait: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: a face that moves, the same as `print`, a video without a face, and a short one."""
    folder = tmp_path_factory.mktemp("videos")

    def moved(shift: float, frames: int) -> list[Pixels]:
        moves = [np.array([[1.0, 0, shift * n], [0, 1, 0]]) for n in range(frames)]
        return [np.asarray(cv2.warpAffine(portrait, move, (400, 320)), np.uint8) for move in moves]

    for name, frames in {
        "live": moved(2.0, 24),
        "print": moved(-1.0, 16),
        "short": moved(1.0, 9),
        "empty": [np.full((320, 400, 3), 90, np.uint8)] * 16,
    }.items():
        write_mp4(folder / f"{name}.mp4", frames, Fraction(30))
    return folder


@pytest.fixture
def crops(make_clip: Callable[..., torch.Tensor]) -> Pixels:
    return np.asarray(make_clip(1)[0].numpy(), np.uint8)


def test_gates_are_those_of_the_weights_and_scipys_filter(crops: Pixels) -> None:
    network = trained(PLAIN)
    attention = attend(network, crops)
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    x = network.double().stem(torch.from_numpy(crops).double().permute(0, 3, 1, 2) / 127.5 - 1)
    for level, stage in enumerate(network.stages):
        with torch.no_grad():
            features = stage(x).numpy()
        compressed = np.einsum("kc,tchw->tkhw", state[f"fcams.{level}.compress.weight"][:, :, 0, 0], features)
        p, b = state[f"fcams.{level}.filter.p"], state[f"fcams.{level}.filter.b"]
        filtered = np.empty_like(compressed)
        for k in range(SMALL.compressed_channels):
            a2 = 0.99 * np.tanh(p[k, 1])
            a = [1.0, 0.9 * 0.99 * (1 + a2) * np.tanh(p[k, 0]), 0.81 * a2]
            filtered[:, k] = signal.lfilter(b[k], a, compressed[:, k], axis=0)
        gates = 1 / (1 + np.exp(-filtered))
        np.testing.assert_allclose(attention.filtered[level], filtered, atol=1e-4)
        np.testing.assert_allclose(attention.gates[level], gates, atol=3e-5)
        gated = features * gates.repeat(features.shape[1] // gates.shape[1], axis=1)
        np.testing.assert_allclose(attention.features[level], np.abs(gated).mean(axis=1), atol=1e-4)
        assert np.ptp(gates) > 0.05  # the comparison is not trivial
        x = torch.from_numpy(gated)


def test_score_and_map_are_the_networks_and_no_hook_stays(crops: Pixels) -> None:
    network = trained()
    with torch.inference_mode():
        before = network(torch.from_numpy(crops)[None])
        attention = attend(network, crops)
        after = network(torch.from_numpy(crops)[None])
    np.testing.assert_array_equal(attention.liveness, before.liveness[0])
    np.testing.assert_array_equal(attention.location_map, before.location_map[0])
    assert torch.equal(before.location_map, after.location_map)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_still_clip_s_gates_fall_back_to_a_half() -> None:
    # Differential filters do not respond to a still picture at all. Others do until their transient has decayed, which
    # it has after 80 equal frames.
    face = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8).repeat(80, axis=0)
    endless = create(0, dataclasses.replace(PLAIN, longest_sequence=0))
    for still, plain in zip(attend(trained(), face).gates, attend(endless, face).gates, strict=True):
        assert np.abs(still - 0.5).max() < 1e-4
        assert np.abs(plain[0] - 0.5).max() > 0.02
        assert np.abs(plain[-1] - 0.5).max() < 1e-3


def test_response_is_scipys() -> None:
    frequencies = np.linspace(0, 5, 50)
    for filters in coefficients(trained()):
        for row, curve in zip(filters, response(filters, frequencies, 10.0), strict=True):
            _, expected = signal.freqz(row[:3], [1, *row[3:]], worN=frequencies, fs=10.0)
            np.testing.assert_allclose(curve, np.abs(expected), rtol=1e-9, atol=1e-12)


def test_without_fcam_there_are_no_gates(crops: Pixels) -> None:
    attention = attend(create(0, WITHOUT), crops)
    assert attention.gates == attention.filtered == []
    assert [level.shape for level in attention.features] == [(4, 16, 16), (4, 8, 8), (4, 4, 4)]


def images(panel: Any) -> list[NDArray[Any]]:
    return [np.asarray(each.get_array()) for each in panel.get_images()]


def visible(figure: Any) -> list[Any]:
    return [panel for panel in figure.axes if panel.get_visible()]


@pytest.fixture
def two(crops: Pixels) -> list[Shown]:
    network = trained()
    return [Shown("live", 6, attend(network, crops)), Shown("print $x", 0, attend(network, crops[::-1].copy()))]


def test_overview_shows_what_was_computed(two: list[Shown]) -> None:
    figure = picture.overview(two, "weights: test")
    panels = [panel for panel in visible(figure) if panel.get_images()]
    grid = np.array(panels, object).reshape(8, 8)  # rows: face, three times gate and filter, map; four frames a video
    for video, shown in enumerate(two):
        attention = shown.attention
        for t in range(4):
            column = grid[:, 4 * video + t]
            np.testing.assert_array_equal(images(column[0])[0], attention.crops[t])
            for level in range(3):
                _, gate = images(column[1 + 2 * level])
                np.testing.assert_array_equal(gate, attention.gates[level][t].mean(axis=0))
                (filtered,) = images(column[2 + 2 * level])
                np.testing.assert_array_equal(filtered, np.abs(attention.filtered[level][t]).mean(axis=0))
            np.testing.assert_array_equal(images(column[7])[0], attention.location_map[t])
            assert column[7].get_xlabel() == f"{attention.liveness[t]:.3f}"
    assert grid[0, 0].get_title("left") == "live\nframe 6"
    assert [panel.get_title().strip() for panel in grid[0, 5:]] == ["frame 3", "frame 6", "frame 9"]
    assert grid[0, 4].get_title("left") == "print $x\nframe 0"
    limits = {panel.get_images()[-1].get_clim() for panel in grid[1:].ravel()}
    assert limits == {(0.0, 1.0), (0.0, 2.0)}  # fixed, whatever the values are
    bars = [panel for panel in visible(figure) if not panel.get_images()]
    assert len([bar for bar in bars if bar.get_title("left")]) == 7


def test_level_page_shows_every_map_and_its_filter(two: list[Shown]) -> None:
    filters = coefficients(trained())[1]
    figure = picture.level_page(two, 1, filters, "level 2")
    panels = [panel for panel in visible(figure) if panel.get_images()]
    grid = np.array(panels, object).reshape(2, 8)
    for k in range(2):
        for t in range(4):
            np.testing.assert_array_equal(images(grid[k, t])[1], two[0].attention.gates[1][t, k])
        (line,) = next(panel for panel in figure.axes if panel.get_gid() == f"response {k}").get_lines()
        frequencies, curve = (np.asarray(each) for each in line.get_data())
        _, expected = signal.freqz(filters[k, :3], [1, *filters[k, 3:]], worN=frequencies, fs=10.0)
        np.testing.assert_allclose(curve, np.abs(expected), rtol=1e-9, atol=1e-12)


def test_gates_keep_their_order_and_middle_in_the_colours() -> None:
    values = np.array([0.0, 0.3, 0.45, 0.5, 0.55, 0.7, 1.0])
    np.testing.assert_allclose(picture._gathered(picture._spread(values)), values, atol=1e-12)
    assert picture._spread(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 0.5, 1.0]
    assert (np.diff(picture._spread(values)) > 0).all()


def test_networks_beside_each_other(two: list[Shown], crops: Pixels) -> None:
    other = create(0, WITHOUT)
    without = [Shown(each.label, each.start, attend(other, each.attention.crops)) for each in two]
    figure = picture.side_by_side([("with", two), ("without", without)], "last frame")
    grid = np.array([panel for panel in visible(figure) if panel.get_images()], object).reshape(2, 9)
    for row in range(2):
        for left, shown in ((1, two[row]), (5, without[row])):
            for level, features in enumerate(shown.attention.features):
                np.testing.assert_allclose(images(grid[row, left + level])[0], features[-1] / features[-1].mean())
            np.testing.assert_array_equal(images(grid[row, left + 3])[0], shown.attention.location_map[-1])


def test_the_clip_is_cut_as_for_training(videos: Path, face_models: Path) -> None:
    finder = FaceFinder(face_models)
    (clip,) = picture_clips(videos / "live.mp4", 1)
    middle = face_clip(videos / "live.mp4", finder)
    assert middle.start == clip.indices[0] == 7
    face = finder.find(clip.items[0])
    assert face is not None
    expected = [crop(each, face.box_px, 96) for each in clip.items]
    np.testing.assert_array_equal(middle.crops(96), expected)
    chosen = face_clip(videos / "live.mp4", finder, start=7)
    np.testing.assert_array_equal(chosen.crops(96), expected)
    last = face_clip(videos / "live.mp4", finder, start=14)
    assert last.start == 14
    with pytest.raises(TooFewFramesError, match="live.mp4: .*frame 15 .* 25 "):
        face_clip(videos / "live.mp4", finder, start=15)


Run = Callable[..., Result]


@pytest.fixture
def run(face_models: Path, tmp_path: Path) -> Run:
    def call(*arguments: object, out: str = "attention.png") -> Result:
        words = [*arguments, "--out", tmp_path / "made" / out, "--face-models", face_models]
        return CliRunner().invoke(explain, [str(each) for each in words])

    return call


@pytest.mark.slow
def test_pictures_of_a_clip_and_of_networks_beside_each_other(run: Run, videos: Path, tmp_path: Path) -> None:
    model = tmp_path / "best.pt"
    save(model, Checkpoint(trained(), label="test weights"))
    plain = tmp_path / "plain.pt"
    save(plain, Checkpoint(create(0, WITHOUT), label="C4"))
    done = run(model, videos / "live.mp4", "--label", "a", "--beside", plain)
    assert done.exit_code == 0, done.output
    names = ["attention.png", *(f"attention_level{n}.png" for n in (1, 2, 3)), "attention_beside.png"]
    assert done.stdout.split() == [str(tmp_path / "made" / name) for name in names]
    for name in names:
        pixels = np.asarray(Image.open(tmp_path / "made" / name).convert("RGB"))
        assert pixels.std() > 20


def test_twins_of_a_clip_are_drawn_beside_it(
    run: Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(picture, "save", lambda figure, path: drawn.append(figure))
    model = tmp_path / "best.pt"
    save(model, Checkpoint(trained()))
    done = run(model, videos / "live.mp4", videos / "empty.mp4", "--twins", "--label", "a", "--label", "b")
    assert done.exit_code == 1
    assert "1 of 2 videos" in done.stderr  # a twin is no video of its own
    panels = [panel for panel in visible(drawn[0]) if panel.get_images()]
    grid = np.array(panels, object).reshape(8, 3, 4)
    titles = [panel.get_title("left").partition("\n")[0] for panel in grid[0, :, 0]]
    assert titles == ["a", "a, frozen", "a, moved_pace"]
    faces = np.array([[images(panel)[0] for panel in video] for video in grid[0]])
    assert (faces[1] == faces[0, 0]).all()
    for video in (0, 2):
        assert (faces[video, 1:] != faces[video, :-1]).mean() > 0.2
    for level in range(3):
        for row, shown in ((1 + 2 * level, 1), (2 + 2 * level, 0)):
            values = np.array([[images(panel)[shown] for panel in video] for video in grid[row]])
            assert np.abs(values[2] - values[1]).max() > 1e-3
    assert len(drawn) == 4


def test_a_still_clip_leaves_differential_filters_silent(crops: Pixels) -> None:
    network = trained(dataclasses.replace(SMALL, differential=True))
    still = attend(network, crops[:1].repeat(4, axis=0))
    assert max(np.abs(y).max() for y in still.filtered) < 1e-5
    assert max(np.abs(gate - 0.5).max() for gate in still.gates) < 1e-5
    assert max(np.abs(y).max() for y in attend(network, crops).filtered) > 0.05


def test_one_bad_video_does_not_stop_the_rest(run: Run, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage.mp4").write_bytes(b"\x00garbage" * 300)
    bad = [tmp_path / "garbage.mp4", videos / "empty.mp4", videos / "short.mp4", tmp_path / "gone.mp4"]
    model = tmp_path / "best.pt"
    save(model, Checkpoint(create(0, WITHOUT)))
    done = run(model, *bad, videos / "live.mp4")
    assert done.exit_code == 1
    assert "garbage.mp4: " in done.stderr
    assert "empty.mp4: no face in frame 3" in done.stderr
    assert FACE_TOO_SMALL in done.stderr
    assert "short.mp4: 9 frames" in done.stderr
    assert "gone.mp4: " in done.stderr
    assert "4 of 5 videos" in done.stderr
    assert (tmp_path / "made" / "attention.png").is_file()
    alone = run(model, videos / "empty.mp4", out="none.png")
    assert alone.exit_code == 1
    assert not (tmp_path / "made" / "none.png").exists()


@pytest.mark.slow
def test_untrained_network_and_simulated_videos_are_named_so(run: Run, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Test_files"
    folder.mkdir()
    (folder / "1_1_36_1.mp4").write_bytes((videos / "live.mp4").read_bytes())
    (tmp_path / RECORD).write_text("{}")
    done = run("--untrained", folder / "1_1_36_1.mp4", out="attention.svg")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "made" / "attention.svg").read_text()
    assert "1_1_36_1 (simulated)" in text
    assert "weights: untrained" in text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.pt", "gone.pt: "),
        ("live.mp4", "live.mp4: "),
        ("model.onnx", "model.onnx: "),
    ],
)
def test_wrong_model(run: Run, videos: Path, tmp_path: Path, model: str, message: str) -> None:
    (videos / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    done = run(videos / model, videos / "print.mp4")
    assert done.exit_code == 1
    assert message in done.output
    assert "`eulernet train`" in done.output
    assert "--untrained" in done.output
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "out", "status", "message"),
    [
        (["{}/live.mp4"], "a.png", 2, "no VIDEO"),
        (["--untrained", "{}/live.mp4", "--label", "a", "--label", "b"], "a.png", 2, "--label: 2 for 1 videos"),
        (["--untrained", "{}/live.mp4"], "a.xyz", 2, ".png, .svg"),
        (["--untrained", "{}/live.mp4", "--start", "99"], "a.png", 1, "frame 99"),
        (["--untrained", "{}/live.mp4"], "live.mp4/a.png", 1, "live.mp4"),
    ],
)
def test_wrong_use(
    run: Run, videos: Path, tmp_path: Path, arguments: list[str], out: str, status: int, message: str
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "live.mp4").write_bytes(b"")  # a file where a folder would have to be
    done = run(*(each.format(videos) for each in arguments), out=out)
    assert done.exit_code == status, done.output
    assert message in done.output


def test_missing_face_models_are_named(videos: Path, tmp_path: Path) -> None:
    words = ["--untrained", videos / "live.mp4", "--out", tmp_path / "a.png", "--face-models", tmp_path]
    done = CliRunner().invoke(explain, [str(each) for each in words])
    assert done.exit_code == 1
    assert "`eulernet face-models" in done.output


def test_attention_is_plain_arrays(two: list[Shown]) -> None:
    attention: Attention = two[0].attention
    shapes = [each.shape for each in (*attention.filtered, *attention.gates, *attention.features)]
    assert shapes == [(4, 2, s, s) for s in (16, 8, 4)] * 2 + [(4, s, s) for s in (16, 8, 4)]
    assert attention.location_map.shape == (4, 8, 8)
    assert attention.liveness.shape == (4,)
