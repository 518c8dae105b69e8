# SPDX-License-Identifier: Apache-2.0
"""The converted networks against LiteRT running the original files, and the decoding against a plain loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tflite
from numpy.typing import NDArray
from skimage import data

from eulernet_core import face_box
from eulernet_serving.face_locating import shrink
from eulernet_serving.face_models import converted as models
from eulernet_serving.face_models import detector_graph as detector
from eulernet_serving.face_models import mesh_graph as mesh
from eulernet_serving.face_models import wheel_files as fetch
from eulernet_serving.face_models.onnx_graph import OnnxGraph
from eulernet_serving.face_models.tflite_to_onnx import ConversionError, convert, same_padding

Floats = NDArray[np.float32]
NAMES = (models.DETECTOR_NAME, models.MESH_NAME)
# File -> side, range of its input, shapes of its outputs.
NETWORKS = {
    fetch.DETECTOR.name: (128, (-1.0, 1.0), {"regressors": (896, 16), "classificators": (896, 1)}),
    fetch.MESH.name: (192, (0.0, 1.0), {"conv2d_21": (1404, 1, 1), "conv2d_31": (1, 1, 1)}),
}


def squares(side_px: int) -> NDArray[np.uint8]:
    """uint8 (4, side, side, 3): a face, the same face near, no face, noise."""
    noise = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)
    face = data.astronaut()
    pictures = (face, face[60:200, 150:290], data.coffee(), noise)
    return np.stack([face_box.letterbox(picture, shrink, side_px)[0] for picture in pictures])


def session(model: bytes | Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_litert(path: Path, image: Floats) -> dict[str, Floats]:
    """Outputs by name of the original network for one image fp32 (1, H, W, 3)."""
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="ai-edge-litert is not installed: pip install ai-edge-litert"
    ).Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}


def bare_network(path: Path, side_px: int, outputs: dict[str, tuple[int, ...]]) -> Any:
    """The converted network alone, without the operators added for serving."""
    graph = OnnxGraph()
    for name, value in convert(path.read_bytes(), graph, "X").items():
        graph.publish(value, name)
    return session(graph.finish("bare", {"X": (onnx.TensorProto.FLOAT, (3, side_px, side_px))}, outputs, {}))


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_outputs_equal_litert(face_models: Path, name: str) -> None:
    side_px, (low, high), outputs = NETWORKS[name]
    images = (squares(side_px) / np.float32(255) * (high - low) + low).astype(np.float32)
    network = bare_network(face_models / name, side_px, outputs)
    got = dict(zip(outputs, network.run(list(outputs), {"X": images.transpose(0, 3, 1, 2)}), strict=True))
    for i, image in enumerate(images):
        for output, expected in run_litert(face_models / name, image[None]).items():
            size = np.abs(expected).max()
            np.testing.assert_allclose(got[output][i].ravel(), expected.ravel(), rtol=0, atol=max(1.0, size) * 1e-5)


def decode_by_loop(regressors: Floats, logits: Floats) -> tuple[Floats, float, float]:
    """MediaPipe's decoding and first weighted round as a loop over boxes: values (16,), score, second score."""
    anchors = [
        ((x + 0.5) * stride / 128, (y + 0.5) * stride / 128)
        for stride, count in ((8, 2), (16, 6))
        for y in range(128 // stride)
        for x in range(128 // stride)
        for _ in range(count)
    ]
    assert len(anchors) == 896
    faces = []
    for anchor, raw, logit in zip(anchors, regressors.astype(float), logits.astype(float), strict=True):
        points = raw.reshape(8, 2) / 128
        points[[0, 2, 3, 4, 5, 6, 7]] += anchor
        (x, y), (w, h) = points[:2]
        values = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2, *points[2:].ravel()])
        score = 1 / (1 + np.exp(-np.clip(logit.item(), -100, 100)))
        if w > 0 and h > 0:
            faces.append((score, values))
    best_score, best = max(faces, key=lambda face: face[0])
    weighted, weights, second = best_score * best, best_score, 0.0
    for score, values in faces:
        if values is best:
            continue
        if iou(values[:4], best[:4]) > 0.3:
            if score >= 0.5:
                weighted, weights = weighted + score * values, weights + score
        else:
            second = max(second, score)
    return weighted / weights, best_score, second


def iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))


def test_detector_equals_litert_and_a_loop(face_models: Path) -> None:
    images = squares(face_box.DETECTOR_SIDE_PX)
    box, keypoints, score, second = session(face_models / models.DETECTOR_NAME).run(None, {"IMAGE": images})
    for i, image in enumerate(images):
        raw = run_litert(face_models / fetch.DETECTOR.name, (image[None] / np.float32(127.5) - 1).astype(np.float32))
        values, best, other = decode_by_loop(raw["regressors"][0], raw["classificators"][0])
        np.testing.assert_allclose(np.concatenate([box[i], keypoints[i].ravel()]), values, rtol=0, atol=1e-5)
        np.testing.assert_allclose([score[i, 0], second[i, 0]], [best, other], rtol=0, atol=1e-5)


def test_decoding_of_crowded_random_boxes_equals_a_loop() -> None:
    """Photographs rarely have boxes near the thresholds; these have hundreds, and some without area."""
    rng = np.random.default_rng(3)
    regressors = rng.normal(0, 25, (4, 896, 16)).astype(np.float32)
    regressors[..., 2:4] = rng.uniform(-5, 60, (4, 896, 2))
    logits = rng.normal(-1, 2, (4, 896, 1)).astype(np.float32)
    logits[3] -= 8  # nothing over the threshold: the best stands alone
    graph = OnnxGraph()
    detector.decode(graph, "R", "L")
    inputs = {"R": (onnx.TensorProto.FLOAT, (896, 16)), "L": (onnx.TensorProto.FLOAT, (896, 1))}
    outputs = {"BOX": (4,), "KEYPOINTS": (6, 2), "SCORE": (1,), "SECOND_SCORE": (1,)}
    model = session(graph.finish("decode", inputs, outputs, {}))
    box, keypoints, score, second = model.run(list(outputs), {"R": regressors, "L": logits})
    for i in range(4):
        values, best, other = decode_by_loop(regressors[i], logits[i])
        np.testing.assert_allclose(np.concatenate([box[i], keypoints[i].ravel()]), values, rtol=0, atol=1e-5)
        np.testing.assert_allclose([score[i, 0], second[i, 0]], [best, other], rtol=1e-5, atol=0)


def test_mesh_equals_litert(face_models: Path) -> None:
    images = squares(mesh.SIDE_PX)
    landmarks, presence = session(face_models / models.MESH_NAME).run(None, {"FACE": images})
    for i, image in enumerate(images):
        raw = run_litert(face_models / fetch.MESH.name, (image[None] / np.float32(255)).astype(np.float32))
        np.testing.assert_allclose(landmarks[i].ravel(), raw["conv2d_21"].ravel() / 192, rtol=0, atol=1e-5)
        np.testing.assert_allclose(presence[i, 0], 1 / (1 + np.exp(-raw["conv2d_31"].item())), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_openvino_agrees_and_a_batch_equals_its_pictures(face_models: Path, name: str) -> None:
    reference = session(face_models / name)
    port = reference.get_inputs()[0]
    images = squares(port.shape[1])[:3]
    together = reference.run(None, {port.name: images})
    compiled = openvino.Core().compile_model(
        face_models / name, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    other = compiled(images)
    for i, expected in enumerate(together):
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(other[i], expected, rtol=0, atol=1e-4)
    for k in range(3):
        for alone, expected in zip(reference.run(None, {port.name: images[k : k + 1]}), together, strict=True):
            np.testing.assert_allclose(alone[0], expected[k], rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_give_finite_numbers_and_no_face(face_models: Path, value: int) -> None:
    image = np.full((1, 128, 128, 3), value, np.uint8)
    outputs = session(face_models / models.DETECTOR_NAME).run(None, {"IMAGE": image})
    assert all(np.isfinite(output).all() for output in outputs)
    assert outputs[2].item() < detector.MIN_SCORE


@pytest.mark.parametrize(
    ("name", "build", "source"),
    [
        (models.DETECTOR_NAME, detector.build_detector, fetch.DETECTOR),
        (models.MESH_NAME, mesh.build_mesh, fetch.MESH),
    ],
)
def test_the_same_bytes_every_time(
    face_models: Path, name: str, build: Callable[[bytes], bytes], source: fetch.WheelFile
) -> None:
    written = (face_models / name).read_bytes()
    assert build((face_models / source.name).read_bytes()) == written
    properties = {item.key: item.value for item in onnx.load_from_string(written).metadata_props}
    assert properties["source_sha256"] == source.sha256


def test_only_plain_operators(face_models: Path) -> None:
    """What TensorRT and OpenVINO have trouble with stays out."""
    for name in NAMES:
        model = onnx.load(face_models / name)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Loop", "Scan", "If", "NonMaxSuppression", "NonZero", "Where", "TopK", "Expand", "Shape"}
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions


def test_an_unknown_operator_is_named(face_models: Path) -> None:
    data_ = bytearray((face_models / fetch.DETECTOR.name).read_bytes())
    model = tflite.Model.GetRootAsModel(data_, 0)
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == tflite.BuiltinOperator.MAX_POOL_2D:
            for field in (4, 10):  # the deprecated and the present place of the operator's number
                if offset := code._tab.Offset(field):
                    data_[code._tab.Pos + offset] = tflite.BuiltinOperator.AVERAGE_POOL_2D
    with pytest.raises(ConversionError, match=r"operator 24 is AVERAGE_POOL_2D; known: .*MAX_POOL_2D"):
        convert(bytes(data_), OnnxGraph(), "X")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (128, 5, 2, (1, 2)),  # even picture, stride 2: the odd pixel goes after
        (192, 3, 2, (0, 1)),
        (16, 3, 1, (1, 1)),
        (7, 3, 2, (1, 1)),  # odd picture: even padding
        (8, 2, 2, (0, 0)),
        (4, 1, 2, (0, 0)),  # never negative
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected
