# SPDX-License-Identifier: Apache-2.0
"""What single ways of the benchmark need: MiniFASNet's graphs and scores, the int8 graph, an earlier tree."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from benchmarks.peers import peer_inputs, silent_face_graphs
from benchmarks.peers.__main__ import chosen_ways
from benchmarks.peers.bench_loads import Kind, LoadSettings
from benchmarks.peers.body import Clip, UnscorableError
from benchmarks.peers.contest import WAYS
from benchmarks.peers.earlier_tree import FOLDERS, check_tree
from benchmarks.peers.errors import BenchError
from benchmarks.peers.scorer import Threads, session
from benchmarks.peers.silent_face_scorer import OwnDetector, SharedDetector, SilentFaceScorer, own_input_size
from benchmarks.peers.ways import Agreement, Inputs, Place, Way
from eulernet.peers import minifasnet
from eulernet_core import shipped
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_loadtest.traffic import Source, Traffic
from eulernet_serving.cpu_precision import has_vnni
from eulernet_serving.face_models.converted import DETECTOR_NAME

ROOT = Path(__file__).parents[2]
BY_KEY: dict[str, Way] = {way.key: way for way in WAYS}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs of both networks, with random weights."""
    folder = tmp_path_factory.mktemp("silent_face")
    for member in minifasnet.MEMBERS:
        model = silent_face_graphs.graph(silent_face_graphs.random_network(member), member.crop_scale)
        onnx.save(model, (folder / member.file).with_suffix(".onnx"))
    return folder


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The own detector's graph for small frames."""
    folder = tmp_path_factory.mktemp("detectors")
    onnx.save(silent_face_graphs.detector_graph(96, 64), folder / "96x64.onnx")
    return folder


class TestSilentFace:
    def test_graphs_equal_the_networks(self, graphs: Path):
        images = 255.0 * torch.rand(3, 3, 80, 80, generator=torch.Generator().manual_seed(5))
        for member in minifasnet.MEMBERS:
            network = silent_face_graphs.random_network(member)
            with torch.inference_mode():
                expected = network(images).numpy()
            runtime = session((graphs / member.file).with_suffix(".onnx"), 1)
            (logits,) = runtime.run(None, {"IMAGE": images.numpy()})
            np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
            assert np.abs(expected).max() > 1e-3

    def test_published_weights_are_taken(self, tmp_path: Path):
        for member in minifasnet.MEMBERS:
            network = minifasnet.MiniFASNet(member.widths)
            state = {f"module.{name}": value for name, value in network.state_dict().items()}
            torch.save(state, tmp_path / member.file)
            assert minifasnet.load(tmp_path / member.file, member.widths) is not None
        with pytest.raises(BenchError, match="no such file"):
            peer_inputs._silent_face_graphs(tmp_path / "out", tmp_path / "gone", tmp_path / "own", [])

    def test_scores_are_the_mean_of_both_networks_and_of_the_frames(self, graphs: Path, moving_faces):
        boxes = SharedDetector(shipped.face_models_folder() / DETECTOR_NAME, 1)
        scorer = SilentFaceScorer(boxes, graphs, Threads(0, 1))
        jpegs = tuple(moving_faces(4, 0))
        (scores,) = scorer([Clip(jpegs)])
        pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
        networks = [silent_face_graphs.random_network(member) for member in minifasnet.MEMBERS]
        singly = []
        for picture, box in zip(pictures, boxes(None, pictures), strict=True):
            logits = [
                network(minifasnet.tensor([minifasnet.crop(picture[..., ::-1], box, member.crop_scale)]))
                for network, member in zip(networks, minifasnet.MEMBERS, strict=True)
            ]
            singly.append(float(minifasnet.score([each.detach() for each in logits])))
        expected = [np.mean(singly[: k + 1]) for k in range(4)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert scores.shape == (4,)

    def test_a_frame_without_a_face_is_refused(self, graphs: Path, encode):
        boxes = SharedDetector(shipped.face_models_folder() / DETECTOR_NAME, 1)
        scorer = SilentFaceScorer(boxes, graphs, Threads(0, 1))
        blank = encode(np.zeros((240, 320, 3), np.uint8))
        with pytest.raises(UnscorableError):
            scorer([Clip((blank,) * 4)])


class TestOwnDetector:
    """RetinaFace on a quarter of MobileNet, as Silent-Face-Anti-Spoofing runs it, with random weights."""

    def test_its_shape_is_the_published_one(self):
        assert own_input_size(640, 480) == (221, 166)
        network = silent_face_graphs.random_detector()
        convolutions = [each for each in network.modules() if isinstance(each, torch.nn.Conv2d)]
        assert len(convolutions) == 53
        assert sum(each.groups > 1 for each in convolutions) == 13
        boxes, scores = network(torch.zeros(1, 3, 166, 221))
        anchors = 2 * (21 * 28 + 11 * 14 + 6 * 7)  # at strides 8, 16 and 32
        assert (boxes.shape, scores.shape) == ((1, anchors, 4), (1, anchors))

    def test_opencv_runs_the_graph_as_torch_does(self, detectors: Path):
        width, height = own_input_size(96, 64)
        image = 255.0 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(5)) - 114.0
        network = cv2.dnn.readNetFromONNX(str(detectors / "96x64.onnx"))
        network.setInput(image.numpy())
        with torch.inference_mode():
            expected = silent_face_graphs.random_detector()(image)
        for found, each in zip(network.forward(("BOX", "SCORE")), expected, strict=True):
            np.testing.assert_allclose(found, each.numpy(), atol=1e-3)
        assert expected[1].std() > 0.05

    def test_every_frame_is_judged_in_its_middle(self, graphs: Path, detectors: Path, encode):
        scorer = SilentFaceScorer(OwnDetector(detectors), graphs, Threads(2, 1))
        jpeg = encode(np.full((64, 96, 3), 90, np.uint8))
        (scores,) = scorer([Clip((jpeg,) * 4)])
        assert scores.shape == (4,)
        with pytest.raises(UnscorableError, match="96x96"):
            scorer([Clip((encode(np.zeros((96, 96, 3), np.uint8)),) * 4)])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("fastapi") is None, reason="FastAPI is not installed: pip install -e '.[bench]'")
@pytest.mark.parametrize("key", ["f", "fo"])
def test_a_server_with_the_graphs_is_loaded(graphs: Path, moving_faces, tmp_path: Path, key: str):
    traffic = Traffic((Source("one", tuple(moving_faces(4, 0))),))
    way = BY_KEY[key]
    height, width = cv2.imdecode(np.frombuffer(traffic.clips()[0][0], np.uint8), cv2.IMREAD_COLOR).shape[:2]
    onnx.save(silent_face_graphs.detector_graph(width, height), tmp_path / f"{width}x{height}.onnx")
    inputs = Inputs(silent_face=graphs, retinaface=tmp_path)
    with way.start(Place(tmp_path, traffic, tmp_path, tmp_path, inputs), way.settings[0]) as running:
        scores = running.scores(exact=True)
        load = running.load(LoadSettings(2.0, 0.3, 2).plan(Kind.OFFERED, 1.0))
        assert running.idle is not None
        assert running.idle.pss_bytes > 30e6
    assert scores.shape == (1, 4)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (load.errors, load.clips > 0) == (0, True)


class TestInputs:
    def test_what_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setattr(peer_inputs.shipped, "model_repository", lambda: tmp_path)
        path, reason = peer_inputs._int8_graph(None)
        assert path is None
        assert "eulernet precision" in reason
        assert ("VNNI" in reason) is not has_vnni()
        inputs = Inputs(absent={"a8": reason, "c0": "needs an earlier tree"})
        ways, left_out = chosen_ways([BY_KEY["a8"], BY_KEY["c0"], BY_KEY["c"]], inputs)
        assert [way.key for way in ways] == ["c"]
        assert [line.split(")")[0] for line in left_out] == ["(a8", "(c0"]
        with pytest.raises(BenchError, match="earlier tree"):
            chosen_ways([BY_KEY["c0"]], inputs)

    def test_a_graph_that_is_not_int8_is_refused(self):
        with pytest.raises(BenchError, match="--int8-graph"):
            peer_inputs._int8_graph(shipped.model_repository() / CLIP_NETWORK_MODEL / "1" / "model.onnx")

    def test_a_folder_that_is_no_tree_is_refused(self, tmp_path: Path):
        with pytest.raises(BenchError, match="git archive"):
            check_tree(tmp_path)
        check_tree(ROOT)

    def test_int8_scores_are_shown_and_not_demanded(self):
        assert BY_KEY["c"].agreement_with(Inputs()) is Agreement.EQUAL
        assert BY_KEY["c"].agreement_with(Inputs(served_int8=True)) is Agreement.SHOWN
        assert BY_KEY["a"].agreement_with(Inputs(served_int8=True)) is Agreement.EQUAL


@pytest.mark.slow
@pytest.mark.triton
def test_an_earlier_tree_serves_with_its_own_packages(tmp_path: Path, moving_faces):
    tree = tmp_path / "tree"
    for folder in (*FOLDERS, "model_repository"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__", "data"))
    mark = tmp_path / "imported.txt"
    with (tree / "serving" / "eulernet_serving" / "stages" / "clip_network.py").open("a") as stage:
        stage.write(f"\nopen({str(mark)!r}, 'w').write(__file__)\n")
    jpegs = tuple(moving_faces(4, 0))
    inputs = Inputs(earlier=tree, earlier_repository=tmp_path / "out" / "earlier_repository")
    place = Place(tmp_path, Traffic((Source("one", jpegs),)), tmp_path, tmp_path / "logs", inputs)
    with BY_KEY["c0"].start(place, BY_KEY["c0"].settings[0]) as running:
        scores = running.scores(exact=True)
        assert running.idle is not None
        assert running.idle.ready_s > 0.1
    assert scores.shape == (1, 4)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert mark.read_text().startswith(str(tree))
