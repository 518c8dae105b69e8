# SPDX-License-Identifier: Apache-2.0
"""Parts of the stages without a server: parameters, the cropper, the runtimes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import scipy.special
import simplejpeg

from eulernet_core.status import Status
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.runtime import RuntimeSettings, make_runtime

REPOSITORY = Path(__file__).parents[2] / "model_repository"
GRAPHS = ("eulernet", "eulernet_clip")


@dataclass(frozen=True)
class Some:
    number: int = 1
    share: float = 0.5
    flag: bool = False
    name: str = "a"


def config(**values):
    return json.dumps({"parameters": {key: {"string_value": value} for key, value in values.items()}})


def test_parameters_are_read():
    assert read_parameters(config(number="7", share="0.25", flag="true", name="b"), Some) == Some(7, 0.25, True, "b")
    assert read_parameters("{}", Some) == Some()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"numbr": "7"}, "parameter numbr: unknown; this model takes flag, name, number, share"),
        ({"number": "x"}, "parameter number: 'x' .* int"),
        ({"flag": "yes"}, "parameter flag: 'yes' is neither true nor false"),
    ],
)
def test_wrong_parameters_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        read_parameters(config(**values), Some)


def face(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def as_jpeg(picture):
    return np.frombuffer(simplejpeg.encode_jpeg(picture, quality=95, colorsubsampling="444"), np.uint8)


@pytest.mark.parametrize("side", [100, 256, 400])
def test_crop_is_the_region_at_the_network_s_size(side):
    picture = face(480, 640)
    box = np.array([120, 40, 120 + side, 40 + side], np.float32)
    status = np.zeros(1, np.int32)
    cropped = Cropper(CropSettings())([as_jpeg(picture)], [box], status)
    region = picture[40 : 40 + side, 120 : 120 + side]
    expected = cv2.resize(
        region, (FACE_SIDE_PX, FACE_SIDE_PX), interpolation=cv2.INTER_AREA if side > 256 else cv2.INTER_LINEAR
    )
    assert status[0] == 0
    assert np.abs(cropped[0].astype(int) - expected).mean() < 2


def test_cropper_goes_on_after_a_frame_that_cannot_be_decoded():
    good = as_jpeg(face(200, 200))
    bad = good.copy()
    at = good.tobytes().index(b"\xff\xc4")
    bad[at + 6 : at + 20] = 255
    box = np.array([10, 10, 110, 110], np.float32)
    cropper = Cropper(CropSettings())
    alone = cropper([good], [box], np.zeros(1, np.int32))[0]
    status = np.array([0, 0, Status.NO_FACE, 0, 0, 0, 0], np.int32)
    faces = cropper([good, bad, bad, good, good, bad, good], [box] * 7, status)
    assert status.tolist() == [0, Status.UNDECODABLE, Status.NO_FACE, 0, 0, Status.UNDECODABLE, 0]
    for row, state in enumerate(status):
        np.testing.assert_array_equal(faces[row], alone if state == 0 else 0)


def test_threads_crop_as_one_does_and_pictures_over_a_limit_are_refused_unless_inspected():
    frames = [as_jpeg(face(480, 640, seed)) for seed in range(9)]
    boxes = [np.array([100, 40, 400, 340], np.float32)] * 9
    status = np.zeros(9, np.int32)
    one, three = (Cropper(CropSettings(threads=threads))(frames, boxes, status) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    tight = CropSettings(max_pixels=1000)
    assert not Cropper(tight)(frames[:1], boxes[:1], status[:1]).any()
    assert status[0] == Status.UNDECODABLE
    status[0] = 0
    np.testing.assert_array_equal(Cropper(tight, inspected=True)(frames[:1], boxes[:1], status[:1]), one[:1])


@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 0, 9, 9),
        (0, 0, np.inf, 9),
        (-5, 0, 9, 9),
        (9, 9, 9, 9),
        (50, 50, 10, 10),
        (0, 0, 5000, 5000),
        (0, 0, 1e30, 1e30),
    ],
)
def test_a_box_that_can_not_be_cropped_stays_with_its_frame(box):
    good = as_jpeg(face(200, 200))
    boxes = [np.array([10, 10, 110, 110], np.float32), np.array(box, np.float32)]
    cropper = Cropper(CropSettings())
    alone = cropper([good], boxes[:1], np.zeros(1, np.int32))[0]
    status = np.array([Status.RELOCATED, Status.RELOCATED], np.int32)
    faces = cropper([good, good], boxes, status)
    assert status.tolist() == [Status.RELOCATED, Status.RELOCATED | Status.UNDECODABLE]
    np.testing.assert_array_equal(faces[0], alone)
    assert not faces[1].any()


def runtime_of(graph: str, *settings):
    return make_runtime(REPOSITORY / graph / "1" / "model.onnx", RuntimeSettings(*settings))


@pytest.mark.parametrize("graph", GRAPHS)
def test_runtime_gives_the_golden_answers(graph):
    tolerance = 1e-5  # of the largest value
    golden = dict(np.load(REPOSITORY / graph / "1" / "golden.npz"))
    loaded = runtime_of(graph)
    results = loaded({name: golden[name] for name in loaded.input_names})
    assert set(results) | set(loaded.input_names) == set(golden)
    for name, value in results.items():
        assert value.dtype == golden[name].dtype
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, golden[name], atol=tolerance * np.abs(golden[name]).max(), err_msg=name)
    np.testing.assert_allclose(results["LIVENESS"], golden["LIVENESS"], atol=tolerance)


@pytest.mark.parametrize("graph", GRAPHS)
def test_runtime_in_bf16_stays_near_the_golden_answers(graph):
    """By half a logit with AVX-512's bf16, not at all where the processor has none and OpenVINO computes in float32."""
    golden = dict(np.load(REPOSITORY / graph / "1" / "golden.npz"))
    loaded = runtime_of(graph, "openvino-bf16")
    results = loaded({name: golden[name] for name in loaded.input_names})
    usable = golden["LIVENESS"] > 0
    wanted, found = (scipy.special.logit(each["LIVENESS"][usable]) for each in (golden, results))
    np.testing.assert_allclose(found, wanted, atol=1.0)
    np.testing.assert_array_equal(results["FRAME_COUNT"], golden["FRAME_COUNT"])


@pytest.mark.parametrize(("runtime", "atol"), [("openvino", 1e-4), ("openvino-bf16", 2e-2)])
def test_runtime_gives_step_by_step_what_the_clip_gives(runtime, atol):
    step, clip = (runtime_of(graph, runtime) for graph in GRAPHS)
    golden = np.load(REPOSITORY / "eulernet_clip" / "1" / "golden.npz")
    faces, status, boxes = (golden[name] for name in ("FACE", "STATUS", "FACE_BOX"))
    expected = clip({"FACE": faces, "STATUS": status, "FACE_BOX": boxes})
    state = {name: np.repeat(step.zeros(name), len(faces), axis=0) for name in step.input_names if name[0] == "s"}
    for t in range(faces.shape[1]):
        answer = step({"FACE": faces[:, t], "STATUS": status[:, t : t + 1], "FACE_BOX": boxes[:, t], **state})
        state = {name: answer[name.replace("_in", "_out")] for name in state}
        np.testing.assert_allclose(answer["LIVENESS"][:, 0], expected["LIVENESS"][:, t], atol=atol)
        np.testing.assert_array_equal(answer["FRAME_COUNT"][:, 0], expected["FRAME_COUNT"][:, t])


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_row_of_a_batch_does_not_depend_on_its_company(threads):
    """Each row is inferred alone, by one thread."""
    golden = np.load(REPOSITORY / "eulernet_clip" / "1" / "golden.npz")
    clip = runtime_of("eulernet_clip", "openvino", threads)
    inputs = {name: np.concatenate([golden[name]] * 4) for name in clip.input_names}
    alone = [clip({name: value[row : row + 1] for name, value in inputs.items()}) for row in range(8)]
    for count in (0, 1, 2, 3, 5, 8):
        together = clip({name: value[:count] for name, value in inputs.items()})
        for name, value in together.items():
            assert len(value) == count
            for row in range(count):
                np.testing.assert_array_equal(value[row], alone[row][name][0])


SEEN_AFFINITIES = """
import contextlib, os, threading
from pathlib import Path
from eulernet_serving.runtime import RuntimeSettings, make_runtime
network = make_runtime(Path("model_repository/eulernet/1/model.onnx"), RuntimeSettings(threads=1))
inputs = {name: network.zeros(name) for name in network.input_names}
load = threading.Thread(target=lambda: [network(inputs) for _ in range(40)])
load.start()
seen = set()
while load.is_alive():
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            seen.add(frozenset(os.sched_getaffinity(int(task.name))))
print(sorted(map(sorted, seen)))
"""


def test_runtime_leaves_the_choice_of_cores_to_the_system():
    """Threads that two processes pin alike share one core, while the others idle."""
    command = [sys.executable, "-c", SEEN_AFFINITIES]
    done = subprocess.run(command, cwd=REPOSITORY.parent, check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [sorted(os.sched_getaffinity(0))]


def test_runtime_refuses_a_runtime_that_does_not_exist():
    with pytest.raises(ValueError, match="parameter runtime: 'torch' is none of openvino, openvino-bf16"):
        runtime_of("eulernet", "torch")


def test_openvino_reports_to_nobody(tmp_path):
    """Its import would write an identifier into the home directory and report to its vendor."""
    script = (
        "import sys; from pathlib import Path; from eulernet_serving.runtime import RuntimeSettings, make_runtime;"
        "make_runtime(Path('model_repository/eulernet/1/model.onnx'), RuntimeSettings());"
        "print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY.parent,
        env={**os.environ, "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "None\n"
    assert not list(tmp_path.iterdir())


def test_a_graph_that_cannot_be_read_is_named(tmp_path):
    unknown = onnx.helper.make_node("Unknown", ["x"], ["y"], domain="nowhere")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = onnx.helper.make_graph([unknown], "unknown", [x], [y])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(RuntimeError, match="Unknown"):
        make_runtime(tmp_path / "model.onnx", RuntimeSettings())
