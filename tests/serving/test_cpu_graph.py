# SPDX-License-Identifier: Apache-2.0
"""Graphs rewritten for OpenVINO, with the work on single pixels outside: the answers of the exported graphs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnx.inliner
import pytest
from numpy.typing import NDArray

from eulernet.network import NetworkConfig, create
from eulernet_build.graphs import clip_graph
from eulernet_build.parity import onnxruntime_runner
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_detail import MIN_DETAIL, face_detail
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.tensors import (
    CLIP_NETWORK_MODEL,
    FACE,
    FACE_BOX,
    FRAME_COUNT,
    LIVENESS,
    LONGEST_SEQUENCE_PARAMETER,
    STATUS,
    STATUS_OUT,
    STEP_NETWORK_MODEL,
)
from eulernet_serving.cpu_graph import for_cpu
from eulernet_serving.prepared_graph import STEM
from eulernet_serving.runtime import RuntimeSettings, make_runtime
from eulernet_serving.stem_input import DetailMeter, StemInput

REPOSITORY = Path(__file__).parents[2] / "model_repository"
GRAPHS = (STEP_NETWORK_MODEL, CLIP_NETWORK_MODEL)
SIDE = 256
LONG = 21  # frames: the filters start anew twice
FLAGS = (0, 0, 0, 0, Status.RELOCATED, Status.NO_FACE, Status.RELOCATED | Status.UNDECODABLE, Status.DEGRADED)
Rows = Mapping[str, NDArray[Any]]


def path_of(model: str, name: str = "model.onnx") -> Path:
    return REPOSITORY / model / "1" / name


def inlined(path: Path) -> onnx.ModelProto:
    return onnx.inliner.inline_local_functions(onnx.load(path))


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Grey noise that is sharp or blurred, so that DEGRADED comes and goes; uint8 (count, SIDE, SIDE, 3)."""
    rng = np.random.default_rng(seed)
    sharp = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(each, (0, 0), rng.choice([0.3, 0.9, 2.5])) for each in sharp])


def statuses(count: int, seed: int) -> list[int]:
    return [int(each) for each in np.random.default_rng(seed).choice(FLAGS, count)]


def steps(run: Any, states: Rows, faces: NDArray[np.uint8], flags: list[int]) -> Iterator[Rows]:
    """The answers to each frame of one sequence."""
    for face, status in zip(faces, flags, strict=True):
        boxes = np.zeros((1, 4), np.float32)
        answer = run({FACE: face[None], STATUS: np.array([[status]], np.int32), FACE_BOX: boxes, **states})
        states = {name: answer[name.replace("_in", "_out")] for name in states}
        yield answer


def assert_same(found: Rows, expected: Rows) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        if value.dtype == np.float32:
            np.testing.assert_allclose(found[name], value, atol=2e-5 * max(1.0, np.abs(value).max()), err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_streams_have_the_answers_of_the_exported_graph(seed: int) -> None:
    path = path_of(STEP_NETWORK_MODEL)
    rewritten = make_runtime(path, RuntimeSettings(threads=1))
    initial = {name: rewritten.zeros(name) for name in rewritten.input_names if name not in (FACE, STATUS, FACE_BOX)}
    faces, flags = pictures(LONG, seed), statuses(LONG, seed)
    both = (steps(run, initial, faces, flags) for run in (rewritten, onnxruntime_runner(onnx.load(path))))
    marked = counts = 0
    for found, expected in zip(*both, strict=True):
        assert_same(found, expected)
        marked += int(expected[STATUS_OUT].item() & Status.DEGRADED > 0)
        counts = max(counts, int(expected[FRAME_COUNT].item()))
    assert 0 < marked < LONG
    assert counts > 1


@pytest.mark.parametrize("seed", range(4))
def test_clips_have_the_answers_of_the_exported_graph(seed: int) -> None:
    path = path_of(CLIP_NETWORK_MODEL)
    inputs = {
        FACE: pictures(3 * CLIP_FRAMES, seed).reshape(3, CLIP_FRAMES, SIDE, SIDE, 3),
        STATUS: np.array(statuses(3 * CLIP_FRAMES, seed), np.int32).reshape(3, CLIP_FRAMES),
        FACE_BOX: np.random.default_rng(seed).random((3, CLIP_FRAMES, 4), np.float32),
    }
    found = make_runtime(path, RuntimeSettings(threads=2))(inputs)
    assert_same(found, onnxruntime_runner(onnx.load(path))(inputs))


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
@pytest.mark.parametrize("model", GRAPHS)
def test_shipped_graphs_are_rewritten(model: str, name: str) -> None:
    flat = inlined(path_of(model, name))
    rewritten, pixels = for_cpu(flat)
    onnx.checker.check_model(rewritten, full_check=True)
    assert pixels is not None
    assert pixels.centre == pytest.approx(127.5, abs=1e-4)
    assert pixels.longest_sequence == 8
    names = [value.name for value in rewritten.graph.input]
    assert STEM in names
    assert FACE not in names
    assert STATUS_OUT not in [value.name for value in rewritten.graph.output]
    kinds = [node.op_type for node in rewritten.graph.node]
    assert kinds.count("Expand") < [node.op_type for node in flat.graph.node].count("Expand")
    assert kinds.count("Conv") == [node.op_type for node in flat.graph.node].count("Conv") + 3  # the gates of each FCAM
    assert len(kinds) < 0.8 * len(flat.graph.node)


def test_a_graph_that_does_not_state_its_sequences_keeps_its_pixels(tmp_path: Path) -> None:
    graph = onnx.load(path_of(CLIP_NETWORK_MODEL))
    kept = [each for each in graph.metadata_props if each.key != LONGEST_SEQUENCE_PARAMETER]
    assert len(kept) == len(graph.metadata_props) - 1
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    onnx.save(graph, tmp_path / "model.onnx")
    assert for_cpu(inlined(tmp_path / "model.onnx"))[1] is None
    golden = np.load(path_of(CLIP_NETWORK_MODEL, "golden.npz"))
    loaded = make_runtime(tmp_path / "model.onnx", RuntimeSettings(threads=1))
    found = loaded({name: golden[name] for name in loaded.input_names})
    np.testing.assert_allclose(found[LIVENESS], golden[LIVENESS], atol=1e-5)
    np.testing.assert_array_equal(found[STATUS_OUT], golden[STATUS_OUT])


@pytest.mark.parametrize("difference", ["none", "colour"])
def test_a_network_with_another_stem_keeps_its_pixels(difference: Any, tmp_path: Path) -> None:
    network = create(config=NetworkConfig(frame_difference=difference))
    onnx.save(clip_graph(network, "untrained"), tmp_path / "model.onnx")
    assert for_cpu(inlined(tmp_path / "model.onnx"))[1] is None
    faces = pictures(CLIP_FRAMES, 0)[None]
    inputs = {FACE: faces, STATUS: np.zeros((1, 4), np.int32), FACE_BOX: np.zeros((1, 4, 4), np.float32)}
    found = make_runtime(tmp_path / "model.onnx", RuntimeSettings(threads=1))(inputs)
    assert_same(found, onnxruntime_runner(onnx.load(tmp_path / "model.onnx"))(inputs))


def test_a_still_changes_nothing() -> None:
    """Exactly: the filters answer the smallest change."""
    _, pixels = for_cpu(inlined(path_of(CLIP_NETWORK_MODEL)))
    assert pixels is not None
    stem = StemInput(pixels)
    still = np.repeat(pictures(1, 5), CLIP_FRAMES, axis=0)[None]
    for faces, moved in ((still, False), (pictures(CLIP_FRAMES, 6)[None], True)):
        stem.fill({FACE: faces, STATUS: np.zeros((1, 4), np.int32)}, {STATUS_OUT: np.zeros((1, 4), np.int32)})
        assert not stem.value[0, 0, ..., -1].any()
        assert bool(stem.value[0, 1:, ..., -1].any()) is moved
        expected = faces[0].astype(np.float32) - np.float32(pixels.centre)
        np.testing.assert_array_equal(stem.value[0, ..., :3], expected)


def test_frames_without_a_score_leave_the_state(tmp_path: Path) -> None:
    loaded = make_runtime(path_of(STEP_NETWORK_MODEL), RuntimeSettings(threads=1))
    states = {name: loaded.zeros(name) for name in loaded.input_names if name not in (FACE, STATUS, FACE_BOX)}
    faces = pictures(3, 7)
    _, before, after = steps(loaded, states, faces, [0, 0, int(NOT_SCORED)])
    for name in states:
        out = name.replace("_in", "_out")
        np.testing.assert_array_equal(after[out], before[out], err_msg=name)
    assert after[STATUS_OUT].item() == NOT_SCORED


def test_detail_is_that_of_the_definition() -> None:
    meter = DetailMeter()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    crops = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in np.linspace(0.2, 3.0, 60)]
    board = 255 * (np.indices((SIDE, SIDE)).sum(axis=0) % 2).astype(np.uint8)
    crops += [np.full_like(noise, grey) for grey in (0, 255)] + [np.dstack([board] * 3), noise]
    details = face_detail(np.stack(crops))
    found = [meter.lacks(cv2.split(each)) for each in crops]
    assert found == [bool(detail < MIN_DETAIL) for detail in details]
    assert 0 < sum(found) < len(found)
