# SPDX-License-Identifier: Apache-2.0
"""The fp16 and int8 variants: their contents, their outputs near fp32's, and the reported errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from eulernet.datasets import BONA_FIDE, Video
from eulernet.evaluation.scores import Score
from eulernet_build.export import CLIP_FOLDER, STEP_FOLDER
from eulernet_build.parity import Tensors, onnxruntime_runner, openvino_runner
from eulernet_build.precision.cost import Cost, cost, crop_models
from eulernet_build.precision.half import to_half
from eulernet_build.precision.int8 import calibrate, to_int8
from eulernet_build.precision.precision_command import precision
from eulernet_build.precision.precision_report import Report
from eulernet_build.precision.runtime_speed import Speed, measure_speed, processor
from eulernet_build.precision.variants import CLIP, FOR_CPU, STEP, Variants, make_variants, read_graphs
from eulernet_build.surgery import SurgeryError
from eulernet_core.face_box import BOX_SCALE_PARAMETER
from eulernet_core.shipped import model_repository
from eulernet_core.tensors import FACE_SIDE_PX, usable_clips
from eulernet_serving.cpu_precision import ACER_CHANGE, INT8_GRAPH
from eulernet_serving.plan_records import graph_properties

REPOSITORY = model_repository()
FOLDERS = {STEP: STEP_FOLDER, CLIP: CLIP_FOLDER}


def golden(model: str) -> Tensors:
    with np.load(REPOSITORY / FOLDERS[model] / "golden.npz") as case:
        return dict(case)


def inputs_of(graph: onnx.ModelProto, tensors: Tensors) -> Tensors:
    return {value.name: tensors[value.name] for value in graph.graph.input}


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    return read_graphs(REPOSITORY)


@pytest.fixture(scope="module")
def variants(graphs: dict[str, onnx.ModelProto]) -> Variants:
    """Variants of the committed graphs; int8 is calibrated on the golden case's clips."""
    return make_variants(graphs, golden(CLIP)["FACE"])


def types(graph: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of a graph, by name."""
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {each.name: each.data_type for each in inferred.initializer}


def nodes(graph: onnx.ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in graph.graph.node if node.op_type == op]


@pytest.mark.parametrize("model", FOLDERS)
@pytest.mark.parametrize("name", ["fp16", "int8", FOR_CPU])
def test_a_variant_has_the_graphs_signature(graphs, variants, model: str, name: str) -> None:
    before, after = graphs[model], variants[model][name]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert {each.domain for each in after.opset_import} == {"", "eulernet"}


@pytest.mark.parametrize("model", FOLDERS)
def test_fp16_covers_the_convolutions_but_not_the_filters(variants, model: str) -> None:
    graph = variants[model]["fp16"]
    kinds = types(graph)
    convolutions = nodes(graph, "Conv")
    assert len(convolutions) == 21
    assert {kinds[name] for node in convolutions for name in [*node.input, *node.output]} == {TensorProto.FLOAT16}
    gates = nodes(graph, "DIIRFGate")
    assert len(gates) == 3
    for node in gates:
        features, *filters = node.input[:5]
        assert kinds[features] == kinds[node.output[0]] == TensorProto.FLOAT16
        assert {kinds[name] for name in [*filters, *node.output[1:]]} == {TensorProto.FLOAT}
    casts = [helper.get_attribute_value(node.attribute[0]) for node in nodes(graph, "Cast")]
    casts = [to for to in casts if to not in (TensorProto.INT32, TensorProto.UINT8)]  # status, next previous frame
    # To float: pixels, previous frame, map.
    assert sorted(casts) == [*[TensorProto.FLOAT] * 3, TensorProto.FLOAT16]


@pytest.mark.parametrize("model", FOLDERS)
def test_int8_is_symmetric_and_excludes_the_filters(variants, model: str) -> None:
    graph = variants[model]["int8"]
    constants = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    pairs = nodes(graph, "QuantizeLinear") + nodes(graph, "DequantizeLinear")
    for node in pairs:
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (scale > 0).all()
    from_int8 = {node.output[0]: node.input[0] for node in nodes(graph, "DequantizeLinear")}
    first, *others = nodes(graph, "Conv")
    context = [node for node in others if "context" in node.input[1]]
    assert len(context) == 2
    for node in [first, *context]:
        assert not set(node.input) & set(from_int8)
    others = [node for node in others if node not in context]
    assert len(others) == 18
    for node in others:
        assert set(node.input[:2]) <= set(from_int8)
        assert set(node.input[2:]).isdisjoint(from_int8)  # biases stay fp32
        weight = constants[from_int8[node.input[1]]]
        assert weight.dtype == np.int8
        assert (np.abs(weight.reshape(len(weight), -1)).max(axis=1) == 127).all()  # each channel uses its range
    for node in nodes(graph, "DIIRFGate"):
        assert not set(node.input) & set(from_int8)
    assert len(nodes(variants[model][FOR_CPU], "DIIRF")) == 3 * {STEP: 1, CLIP: 4}[model]


@pytest.mark.parametrize("model", FOLDERS)
@pytest.mark.parametrize(("name", "liveness", "state"), [("fp16", 5e-3, 0.01), ("int8", 0.2, 0.6), (FOR_CPU, 0.2, 0.6)])
def test_variants_stay_near_fp32(graphs, variants, model: str, name: str, liveness: float, state: float) -> None:
    inputs = inputs_of(graphs[model], golden(model))
    expected = onnxruntime_runner(graphs[model])(inputs)
    actual = onnxruntime_runner(variants[model][name])(inputs)
    np.testing.assert_array_equal(actual["FRAME_COUNT"], expected["FRAME_COUNT"])
    for tensor, want in expected.items():
        assert actual[tensor].dtype == want.dtype
        assert np.isfinite(actual[tensor]).all()
    assert np.abs(actual["LIVENESS"] - expected["LIVENESS"]).max() < liveness
    assert np.abs(actual["LOCATION_MAP"] - expected["LOCATION_MAP"]).max() > 0  # the graphs differ
    for tensor in (tensor for tensor in expected if tensor.startswith("s") and expected[tensor].dtype == np.float32):
        # Relative to the whole state, because the size of a single value depends on the weights.
        off = np.linalg.norm(actual[tensor] - expected[tensor]) / np.linalg.norm(expected[tensor])
        assert off < state, tensor


@pytest.mark.parametrize("name", ["fp16", "int8", FOR_CPU])
def test_both_forms_of_a_variant_agree(variants, name: str) -> None:
    clips = golden(CLIP)
    expected = onnxruntime_runner(variants[CLIP][name])(inputs_of(variants[CLIP][name], clips))
    step = variants[STEP][name]
    run, states = onnxruntime_runner(step), [value.name for value in step.graph.input[3:]]
    state = {key: np.zeros_like(value[:1]).repeat(2, 0) for key, value in golden(STEP).items() if key in states}
    for t in range(4):
        frame = {"STATUS": clips["STATUS"][:, t : t + 1], "FACE_BOX": clips["FACE_BOX"][:, t]}
        outputs = run({"FACE": clips["FACE"][:, t], **frame, **state})
        state = {key: outputs[key.replace("_in", "_out")] for key in states}
        # A different rounding is one step of int8 or fp16.
        np.testing.assert_allclose(outputs["LIVENESS"][:, 0], expected["LIVENESS"][:, t], atol=2e-3)


@pytest.mark.parametrize("name", ["int8", FOR_CPU])
def test_openvino_runs_int8(variants, name: str) -> None:
    graph = variants[STEP][name]
    inputs = inputs_of(graph, golden(STEP))
    expected, actual = onnxruntime_runner(graph)(inputs), openvino_runner(graph)(inputs)
    means = [each["LOCATION_MAP"].mean(axis=(1, 2)) for each in (actual, expected)]
    # For TensorRT weights have 8 bits: without VNNI the sums of one of the runtimes saturate.
    np.testing.assert_allclose(*means, atol=5e-3 if name == FOR_CPU else 0.1)


def half_case(emulated: bool) -> onnx.ModelProto:
    """relu(x * 300) * 300 as 1x1 convolutions, in half."""
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), 300, np.float32), "weight")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, 2, 2]) for name in ("x", "y")]
    steps = [("Conv", ["x", "weight"], ["a"]), ("Relu", ["a"], ["b"]), ("Conv", ["b", "weight"], ["y"])]
    graph = helper.make_graph([helper.make_node(*each) for each in steps], "g", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return to_half(model, emulated)


def test_emulated_half_rounds_every_tensor() -> None:
    x = np.array([0.1, 1.0, -1.0, 0.7], np.float32).reshape(1, 1, 2, 2)
    half = x.astype(np.float16).astype(np.float32)
    once = np.maximum(half * 300, 0).astype(np.float16).astype(np.float32)
    with np.errstate(over="ignore"):
        twice = (once * 300).astype(np.float16).astype(np.float32)
    actual = onnxruntime_runner(half_case(emulated=True))({"x": x})["y"]
    np.testing.assert_array_equal(actual, twice)
    assert np.isinf(actual).any()
    assert not nodes(half_case(emulated=False), "Cast")[1:-1]


def test_too_large_a_weight_is_refused(variants) -> None:
    large = onnx.ModelProto.FromString(variants[STEP]["fp32"].SerializeToString())
    weight = next(each for each in large.graph.initializer if each.name == "head.weight")
    weight.CopyFrom(numpy_helper.from_array(np.full(weight.dims, 7e4, np.float32), weight.name))
    with pytest.raises(SurgeryError, match=r"head\.weight: 70000 .*65504"):
        to_half(large)


def test_an_unfused_graph_is_refused_in_half(graphs) -> None:
    with pytest.raises(SurgeryError, match=r"Reshape .*fuse"):
        to_half(graphs[STEP])


def test_a_range_clips_one_value_in_ten_thousand(variants) -> None:
    clips = golden(CLIP)["FACE"]
    graph = onnx.ModelProto.FromString(variants[CLIP]["fp32"].SerializeToString())
    ranges = calibrate(graph, clips)
    entering = [node.input[:2] for node in nodes(graph, "Conv")[1:] if "context" not in node.input[1]]
    assert list(ranges) == [weight for _, weight in entering]
    tensors = dict(entering)
    graph.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    values = onnxruntime_runner(graph)(usable_clips(clips))
    for tensor, weight in tensors.items():
        clipped = (np.abs(values[tensor]) > ranges[weight]).mean()
        assert 0 < clipped < 5e-4, tensor


def test_calibration_needs_clips_of_the_graphs_shape(variants) -> None:
    with pytest.raises(ValueError, match=r"uint8\(2, 4, 64, 64, 3\).*uint8 \(M, 4, 256, 256, 3\)"):
        calibrate(variants[CLIP]["fp32"], np.zeros((2, 4, 64, 64, 3), np.uint8))


def test_ranges_of_another_network_are_refused(variants) -> None:
    with pytest.raises(SurgeryError, match=r"other\.weight.*eulernet"):
        to_int8(variants[STEP]["fp32"], {"other.weight": 1.0})


def test_graphs_of_different_networks_are_refused(graphs) -> None:
    other = onnx.ModelProto.FromString(graphs[STEP].SerializeToString())
    next(each for each in other.metadata_props if each.key == "parameters_sha256").value = "0"
    with pytest.raises(SurgeryError, match="eulernet and eulernet_clip"):
        make_variants({**graphs, STEP: other}, golden(CLIP)["FACE"])
    with pytest.raises(SurgeryError, match=r"eulernet/1/model\.onnx: .*eulernet export"):
        read_graphs(Path("nowhere"))


def test_graphs_of_other_crops_are_refused(graphs, tmp_path) -> None:
    for name, graph in graphs.items():
        other = onnx.ModelProto.FromString(graph.SerializeToString())
        next(each for each in other.metadata_props if each.key == BOX_SCALE_PARAMETER).value = "1.6"
        (tmp_path / name / "1").mkdir(parents=True)
        onnx.save(other, tmp_path / name / "1" / "model.onnx")
    with pytest.raises(SurgeryError, match=r"model\.onnx: learned from crops of 1\.6 times the detected box"):
        read_graphs(tmp_path)


def scores(*liveness: float) -> list[Score]:
    """One clip each of two bona fide videos and two attacks."""
    kinds = [("live", BONA_FIDE), ("live", BONA_FIDE), ("attack", "print1"), ("attack", "replay1")]
    return [
        Score(Video(Path(f"{i}.avi"), label, instrument, f"{i}", 1, 1, "test", f"{i}"), value)
        for i, ((label, instrument), value) in enumerate(zip(kinds, liveness, strict=True))
    ]


def test_cost_compares_clip_by_clip_at_the_given_threshold() -> None:
    plain = scores(0.9, 0.8, 0.1, 0.2)
    found = cost("int8", plain, scores(0.9, 0.4, 0.1, 0.6), threshold=0.5)
    assert (found.clips, found.videos, found.judged_differently) == (4, 4, 2)
    assert found.mean == pytest.approx(0.2)
    assert found.largest == pytest.approx(0.4)
    # One of two bona fide videos is rejected, the replay accepted.
    assert (found.bpcer, found.apcer, found.acer, found.acer_change) == (0.5, 1.0, 0.75, 0.75)
    assert cost("fp32", plain, plain, 0.5) == Cost("fp32", 4, 4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


def test_crop_models_score_as_the_graphs_do(variants) -> None:
    faces = golden(CLIP)["FACE"]
    expected = onnxruntime_runner(variants[CLIP]["fp32"])(usable_clips(faces))
    models = crop_models(variants[CLIP])
    assert list(models) == ["fp32", "fp16", "int8", FOR_CPU]
    np.testing.assert_array_equal(models["fp32"].infer(faces), expected["LIVENESS"][:, -1])
    runners = {"fp32": onnxruntime_runner, "int8": onnxruntime_runner, FOR_CPU: openvino_runner}
    for name, model in models.items():
        assert model.size_px == FACE_SIDE_PX
        if name in runners:
            outputs = runners[name](variants[CLIP][name])(usable_clips(faces))
            np.testing.assert_allclose(model.infer(faces), outputs["LIVENESS"][:, -1], atol=1e-6)
        else:
            assert np.abs(model.infer(faces) - expected["LIVENESS"][:, -1]).max() < 0.01, name


def report(ratio: float, acer_change: float, speeds: bool = True) -> Report:
    costs = tuple(Cost(name, 8, 4, 0.001, 0.01, 0.1, 0.2, 0.15, acer_change, 0) for name in ("fp32", FOR_CPU))
    measured = (Speed(FOR_CPU, 1, 150.0, ratio), Speed(FOR_CPU, 8, 150.0, 2.0)) if speeds else ()
    return Report("run 1", "ab", "set", True, 3, 2, 4, 64, 0.5, costs, "processor X", measured)


@pytest.mark.parametrize(
    ("ratio", "acer_change", "pays"),
    [
        pytest.param(1.1, 0.005, True, id="faster, allowed loss"),
        pytest.param(1.1, -0.01, True, id="faster and better"),
        pytest.param(0.9, 0.0, False, id="slower frame by frame"),
        pytest.param(1.5, 0.006, False, id="faster and worse"),
    ],
)
def test_int8_must_be_faster_at_nearly_the_same_acer(ratio: float, acer_change: float, pays: bool) -> None:
    made = report(ratio, acer_change)
    assert made.int8_pays is pays
    assert json.loads(made.to_json())["int8_pays"] is pays
    assert f"int8.cpu {'may' if pays else 'should not'} replace fp32" in made.text()


def test_the_report_names_weights_data_and_processor() -> None:
    text = report(1.5, 0.001).text()
    assert text.startswith("weights: run 1\ntest clips of set, protocol 3 fold 2 (simulated data)\n")
    assert "15.00 %" in text
    assert "+0.10 %" in text
    assert "one thread of processor X" in text
    without = report(1.5, 0.001, speeds=False)
    assert without.int8_pays is None
    assert "replace" not in without.text()


def test_speeds_are_relative_to_the_first_graph(graphs) -> None:
    found = measure_speed({"one": (graphs[STEP], "f32"), "other": (graphs[STEP], "f32")}, batch=1, rounds=3, calls=1)
    assert [(each.name, each.batch) for each in found] == [("one", 1), ("other", 1)]
    assert all(each.fps > 1 for each in found)
    assert found[0].ratio == 1.0
    assert 0.2 < found[1].ratio < 5.0  # the same graph twice; the machine may be busy
    assert processor()


def test_a_signal_after_the_runners_ended_does_no_harm(tmp_path: Path) -> None:
    """If two OpenVINO Cores end in order, the second restores a signal stack that no longer exists."""
    onnx.save(read_graphs(REPOSITORY)[STEP], tmp_path / "step.onnx")
    script = """
import faulthandler, onnx, os, signal, sys
from eulernet_build.parity import openvino_runner
faulthandler.enable()
graph = onnx.load(sys.argv[1])
runners = [openvino_runner(graph) for _ in range(2)]
while runners:
    runners.pop(0)
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "step.onnx"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"heard\n"), done.stderr


@pytest.fixture(scope="module")
def recordings(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of six short videos of a moving photograph, in a folder marked as simulated."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "simulated.json").write_text("{}")
    rows = ["path,label,instrument,subject,split"]
    for number, (split, kind) in enumerate((s, k) for s in ("train", "dev", "test") for k in ("live", "print1")):
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
            stream.height, stream.width = 240, 320
            for t in range(12):
                shift = np.array([[1.2, 0, -150 + number * t / 2], [0, 1.2, -20]], np.float32)
                frame = cv2.warpAffine(portrait, shift, (320, 240))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        label, instrument = ("live", "") if kind == "live" else ("attack", kind)
        rows.append(f"{number}.mp4,{label},{instrument},{number},{split}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


@pytest.mark.slow
def test_the_command_writes_graphs_and_measurements(recordings: Path, face_models: Path, tmp_path: Path) -> None:
    options = ["--data", recordings, "--out", tmp_path / "out", "--crops", tmp_path / "crops", "--jobs", 1]
    options += ["--face-models", face_models, "--clips", 1, "--calibration-clips", 5, "--no-speed", "--install"]
    repository = shutil.copytree(REPOSITORY, tmp_path / "repository")
    result = CliRunner().invoke(precision, [str(each) for each in [*options, "--repository", repository]])
    assert result.exit_code == 0, result.output
    assert "test clips of list.csv (simulated data)" in result.output
    for model in FOLDERS:
        installed = onnx.load(repository / model / "1" / INT8_GRAPH)
        assert float(graph_properties(installed)[ACER_CHANGE]) <= 1
        assert str(repository / model / "1" / INT8_GRAPH) in result.output
    written = json.loads((tmp_path / "out" / "precision.json").read_text())
    assert written["simulated"] is True
    assert (written["protocol"], written["calibration_clips"], written["speeds"]) == (None, 2, [])
    label = {each.key: each.value for each in onnx.load(REPOSITORY / CLIP_FOLDER / "model.onnx").metadata_props}
    assert written["weights"] == label["weights"]
    plain, half, *integer = written["costs"]
    assert [each["precision"] for each in written["costs"]] == ["fp32", "fp16", "int8", FOR_CPU]
    assert (plain["videos"], plain["clips"], plain["largest"], plain["acer_change"]) == (2, 2, 0.0, 0.0)
    assert 0 < half["largest"] < 0.01
    assert all(0 < each["largest"] < 0.6 for each in integer), integer  # calibrated on two clips
    for model in FOLDERS:
        for name in ("fp32", "fp16", "int8", FOR_CPU):
            assert str(tmp_path / "out" / model / f"model.{name}.onnx") in result.output
            onnx.checker.check_model(tmp_path / "out" / model / f"model.{name}.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repository", "nowhere"], "nowhere/eulernet/1/model.onnx"),
        (["--face-models", "nowhere"], "nowhere"),
    ],
)
def test_missing_files_are_named(recordings: Path, tmp_path: Path, options: list[str], message: str) -> None:
    common = ["--data", str(recordings), "--out", str(tmp_path / "out"), "--crops", str(tmp_path / "crops")]
    result = CliRunner().invoke(precision, [*common, *options])
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "out").exists()
