# SPDX-License-Identifier: Apache-2.0
"""The exported graphs: their contents, their outputs in every runtime, and their bytes."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from eulernet.learning.checkpoint import AnyCheckpoint, CheckpointError, save
from eulernet.learning.checkpoint import load as load_checkpoint
from eulernet.network import EulerNet, NetworkConfig, create
from eulernet_build.export import CLIP_FOLDER, LABELLED, STEP_FOLDER, check_forms, export, export_checkpoint
from eulernet_build.golden import STATE_STEP
from eulernet_build.graphs import frozen, parameters_sha256
from eulernet_build.parity import TOLERANCE, Tensors, check_runtimes, compare, onnxruntime_runner, openvino_runner
from eulernet_core import shipped
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_detail import MIN_DETAIL, face_detail
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.tensors import FACE_SIDE_PX, MAP_SIDE, STATE_INPUT_SUFFIX

REPOSITORY = shipped.model_repository()
SHIPPED = load_checkpoint(shipped.weights())
LABEL = SHIPPED.label
LABELLED_CONFIGS = [
    path.relative_to(REPOSITORY) for name in LABELLED for path in (REPOSITORY / name).parent.rglob("*.pbtxt")
]
FOLDERS = {"step": STEP_FOLDER, "clip": CLIP_FOLDER}
RUNNERS = {"ONNX Runtime": onnxruntime_runner, "OpenVINO": openvino_runner}
SMALL = NetworkConfig(image_size=64)
COUNT_STATE = "s7"  # after the filters' states and the previous frame


def load(repository: Path, form: str) -> tuple[onnx.ModelProto, Tensors]:
    folder = repository / FOLDERS[form]
    with np.load(folder / "golden.npz") as golden:
        return onnx.load(folder / "model.onnx"), dict(golden)


def trained_looking(seed: int) -> EulerNet:
    """A network without any initial value, which reveals parameters that the export forgets."""
    network = create(seed, SMALL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator) - 0.5
                tensor.add_(noise * (0.5 if "running_var" in name or tensor.dim() < 4 else 0.02))
        network.threshold.abs_()  # of a mean, which is not negative
    return network


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("trained")
    export(trained_looking(5), repository / STEP_FOLDER, repository / CLIP_FOLDER, "run 12")
    return repository


@pytest.fixture(scope="module")
def exported_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which another process exported the shipped weights."""
    folder = tmp_path_factory.mktemp("again")
    for name in LABELLED_CONFIGS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((REPOSITORY / name).read_text().replace(LABEL, "something else"))
    command = [Path(sys.executable).with_name("eulernet"), "export", "--repository", folder]
    subprocess.run(command, check=True, timeout=240, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", FOLDERS)
def test_exporting_again_gives_the_committed_files(exported_again: Path, form: str) -> None:
    again, committed = exported_again / FOLDERS[form], REPOSITORY / FOLDERS[form]
    assert (again / "model.onnx").read_bytes() == (committed / "model.onnx").read_bytes(), (
        "the code exports another graph: run `eulernet export` with the versions in constraints.txt"
    )
    _, expected = load(REPOSITORY, form)
    _, golden = load(exported_again, form)
    assert golden.keys() == expected.keys()
    states = [name for name in expected if name.endswith(STATE_INPUT_SUFFIX)]
    same_states = all(np.array_equal(expected[name], golden[name]) for name in states)
    compare(expected, golden, "the export of another process", TOLERANCE if same_states else STATE_STEP)


@pytest.mark.slow
def test_exporting_writes_the_label_into_the_ensembles(exported_again: Path) -> None:
    for name in LABELLED_CONFIGS:
        assert f'"{LABEL}"' in (REPOSITORY / name).read_text()
        assert (exported_again / name).read_bytes() == (REPOSITORY / name).read_bytes()


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    export(trained_looking(5), tmp_path / STEP_FOLDER, tmp_path / CLIP_FOLDER, "run 12")
    for folder in FOLDERS.values():
        for name in ("model.onnx", "golden.npz"):
            assert (tmp_path / folder / name).read_bytes() == (trained / folder / name).read_bytes()


def test_weights_that_learned_from_other_crops_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "tight.pt", AnyCheckpoint(create(config=NetworkConfig(image_size=64, box_scale=1.6))))
    with pytest.raises(CheckpointError, match=r"tight\.pt: learned from crops of 1\.6 times .* cuts 2\.4 times; train"):
        export_checkpoint(tmp_path / "tight.pt", tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("form", FOLDERS)
def test_committed_graphs_pass_their_golden_case(form: str) -> None:
    model, golden = load(REPOSITORY, form)
    onnx.checker.check_model(model, full_check=True)
    assert check_runtimes(model, golden, form) < 1e-5


def test_committed_forms_agree() -> None:
    step, _ = load(REPOSITORY, "step")
    _, golden = load(REPOSITORY, "clip")
    assert check_forms(step, golden) < 1e-5


def test_the_golden_case_is_small_and_has_every_kind_of_frame() -> None:
    step, clip = load(REPOSITORY, "step")[1], load(REPOSITORY, "clip")[1]
    for golden in (step, clip):
        status = golden["STATUS"]
        scored, restarts = (status & NOT_SCORED) == 0, (status & Status.RELOCATED) != 0
        assert (status == 0).any()
        assert (scored & restarts).any()
        assert (~scored & restarts).any()
        assert (~scored & ~restarts).any()
        low = face_detail(golden["FACE"].reshape(-1, *golden["FACE"].shape[-3:])).reshape(status.shape) < MIN_DETAIL
        assert (scored & ~low).any()
        assert (scored & low & ((status & Status.DEGRADED) == 0)).any()
        assert (scored & ((status & Status.SMALL_FACE) != 0)).any()
        usable = golden["LIVENESS"][scored]
        assert len(np.unique(usable)) == len(usable)
        np.testing.assert_array_equal(golden["STATUS_OUT"], status | np.where(low & scored, Status.DEGRADED, 0))
        np.testing.assert_array_equal(golden["FACE_BOX_OUT"], golden["FACE_BOX"])
        assert len(np.unique(golden["FACE_BOX"].reshape(-1, 4), axis=0)) == status.size
        # A trained score may be near 0 or 1, where its sigmoid hides a difference; its map must not saturate. A first
        # frame shows no motion, so its map is nearly empty.
        later = scored & (golden["FRAME_COUNT"].reshape(status.shape) > 1)
        assert later.any()
        maps = golden["LOCATION_MAP"].reshape(*status.shape, -1)
        between = ((maps > 0.02) & (maps < 0.98)).mean(axis=-1)
        assert (between[later] > 0.25).all(), "a saturated map would hide a difference"
        relief = maps.std(axis=-1)
        assert (relief[later] > 1e-2).all()
        assert (relief[scored] > 0).all()
        assert (relief[~scored] == 0).all()
    assert all(golden[f"s{i}_in"].any() for golden in (step,) for i in range(7))
    assert sum((REPOSITORY / folder / "golden.npz").stat().st_size for folder in FOLDERS.values()) < 800_000


def signature(values: "list[onnx.ValueInfoProto]") -> dict[str, tuple[str, list[object]]]:
    described = {}
    for value in values:
        tensor = value.type.tensor_type
        dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        described[value.name] = (onnx.TensorProto.DataType.Name(tensor.elem_type), dims)
    return described


LEVELS = [64, 64, 32, 32, 16, 16]


def state_signature(end: str) -> dict[str, tuple[str, list[object]]]:
    maps = {f"s{i}_{end}": ("FLOAT", ["N", 4, size, size]) for i, size in enumerate(LEVELS)}
    previous = ("UINT8", ["N", 1, FACE_SIDE_PX, FACE_SIDE_PX])
    return {**maps, f"s6_{end}": previous, f"s7_{end}": ("INT32", ["N", 1])}


def test_step_signature() -> None:
    graph = load(REPOSITORY, "step")[0].graph
    assert signature(graph.input) == {
        "FACE": ("UINT8", ["N", FACE_SIDE_PX, FACE_SIDE_PX, 3]),
        "STATUS": ("INT32", ["N", 1]),
        "FACE_BOX": ("FLOAT", ["N", 4]),
        **state_signature("in"),
    }
    assert signature(graph.output) == {
        "LIVENESS": ("FLOAT", ["N", 1]),
        "LOCATION_MAP": ("FLOAT", ["N", MAP_SIDE, MAP_SIDE]),
        "FRAME_COUNT": ("INT32", ["N", 1]),
        "STATUS_OUT": ("INT32", ["N", 1]),
        "FACE_BOX_OUT": ("FLOAT", ["N", 4]),
        **state_signature("out"),
    }


def test_clip_signature() -> None:
    graph = load(REPOSITORY, "clip")[0].graph
    clips = ["N", CLIP_FRAMES]
    assert signature(graph.input) == {
        "FACE": ("UINT8", [*clips, FACE_SIDE_PX, FACE_SIDE_PX, 3]),
        "STATUS": ("INT32", clips),
        "FACE_BOX": ("FLOAT", [*clips, 4]),
    }
    assert signature(graph.output) == {
        "LIVENESS": ("FLOAT", clips),
        "LOCATION_MAP": ("FLOAT", [*clips, MAP_SIDE, MAP_SIDE]),
        "FRAME_COUNT": ("INT32", clips),
        "STATUS_OUT": ("INT32", clips),
        "FACE_BOX_OUT": ("FLOAT", [*clips, 4]),
    }


@pytest.mark.parametrize("form", FOLDERS)
def test_state_names_sort_in_numerical_order(form: str) -> None:
    # Triton pairs state inputs with state outputs by the alphabetical order of their names.
    names = [value.name for value in load(REPOSITORY, form)[0].graph.input if value.name.startswith("s")]
    assert names == sorted(names)


@pytest.mark.parametrize(("form", "filters"), [("step", 3), ("clip", 12)])
def test_filters_are_plugin_nodes_with_a_function_body(form: str, filters: int) -> None:
    model, _ = load(REPOSITORY, form)
    nodes = [node for node in model.graph.node if node.op_type == "DIIRF"]
    assert len(nodes) == filters
    assert len({node.name for node in nodes}) == filters
    for node in nodes:
        assert node.domain == "eulernet"
        assert {a.name: a.s.decode() for a in node.attribute} == {"plugin_namespace": "eulernet", "plugin_version": "1"}
        assert (len(node.input), len(node.output)) == (4, 3)
    assert [(function.domain, function.name) for function in model.functions] == [("eulernet", "DIIRF")]
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 18), ("eulernet", 1)}


@pytest.mark.parametrize("form", FOLDERS)
def test_graphs_have_no_difficult_nodes(form: str) -> None:
    model, _ = load(REPOSITORY, form)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"BatchNormalization", "Loop", "Scan", "If", "NonZero", "Tanh"}
    assert {node.domain for node in model.graph.node} == {"", "eulernet"}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@pytest.mark.parametrize("form", FOLDERS)
def test_bytes_are_cast_before_anything_else(form: str) -> None:
    # TensorRT supports uint8 only as a network's input, and only conversions of it.
    model, _ = load(REPOSITORY, form)
    assert [node.op_type for node in model.graph.node if "FACE" in node.input] == ["Cast"]


@pytest.mark.slow
@pytest.mark.parametrize("form", FOLDERS)
def test_the_file_contains_nothing_of_the_machine(trained: Path, form: str) -> None:
    for repository in (REPOSITORY, trained):
        model, _ = load(repository, form)
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")  # two million bytes of weights contain any three letters
        content = model.SerializeToString()
        traces = [
            os.fspath(Path.home()),
            os.fspath(REPOSITORY.parent),
            "site-packages",
            ".py",
            "stack_trace",
            "pkg.torch",
        ]
        assert [text for text in traces if text.encode() in content] == []


@pytest.mark.parametrize(("form", "frames"), [("step", "1"), ("clip", "4")])
def test_the_file_names_its_weights(trained: Path, form: str, frames: str) -> None:
    for repository, network, weights in ((REPOSITORY, SHIPPED.network, LABEL), (trained, trained_looking(5), "run 12")):
        assert {prop.key: prop.value for prop in load(repository, form)[0].metadata_props} == {
            "weights": weights,
            "frames": frames,
            "image_size": str(network.config.image_size),
            "box_scale": "2.4",
            "longest_sequence": str(network.config.longest_sequence),
            "parameters_sha256": parameters_sha256(network),
        }


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("runtime", RUNNERS)
@pytest.mark.parametrize("form", FOLDERS)
def test_any_batch_gives_the_rows_of_the_golden_case(trained: Path, form: str, runtime: str, n: int) -> None:
    model, golden = load(trained, form)
    rows = np.arange(n) % len(golden["FACE"])
    outputs = RUNNERS[runtime](model)({value.name: golden[value.name][rows] for value in model.graph.input})
    expected = {value.name: golden[value.name][rows] for value in model.graph.output}
    assert compare(expected, outputs, f"{runtime}, {form}, batch {n}") < 1e-4


@pytest.mark.parametrize("runner", RUNNERS.values())
def test_every_status_is_read_alike_in_every_runtime(trained: Path, runner) -> None:
    """All flags, unknown ones and negative numbers, up to the largest that OpenVINO divides exactly, in float."""
    model, golden = load(trained, "step")
    status = np.array([*range(256), 256, 2**24 - 1, -1, -2, -26, -(2**24) + 2], np.int32)[:, None]
    sharp, low = golden["FACE"][:2]
    assert face_detail(low[None]) < MIN_DETAIL < face_detail(sharp[None])
    pictures = np.stack([sharp, low])[np.arange(2 * len(status)) // len(status)]
    status = np.concatenate([status, status])
    inputs = {value.name: np.repeat(golden[value.name][:1], len(status), axis=0) for value in model.graph.input}
    inputs["FACE"] = pictures
    inputs["FACE_BOX"] = np.arange(status.size * 4, dtype=np.float32).reshape(-1, 4) / 4 - 9
    outputs = runner(model)({**inputs, "STATUS": status})
    usable, restarts = (status & NOT_SCORED) == 0, (status & Status.RELOCATED) != 0
    before = np.where(restarts, 0, inputs[f"{COUNT_STATE}_in"])
    np.testing.assert_array_equal(outputs["FRAME_COUNT"], before + usable)
    np.testing.assert_array_equal(outputs[f"{COUNT_STATE}_out"], before + usable)
    np.testing.assert_array_equal(outputs["LIVENESS"] > 0, usable)
    added = np.where(usable & (pictures == low).all(axis=(1, 2, 3))[:, None], Status.DEGRADED, 0)
    np.testing.assert_array_equal(outputs["STATUS_OUT"], status | added)
    np.testing.assert_array_equal(outputs["FACE_BOX_OUT"], inputs["FACE_BOX"])
    for name in (f"s{i}_out" for i in range(7)):
        same = (outputs[name] == inputs[name.replace("_out", "_in")]).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(same, ~usable[:, 0], err_msg=name)


@pytest.mark.parametrize("runner", RUNNERS.values())
def test_any_number_is_a_status(trained: Path, runner) -> None:
    model, golden = load(trained, "step")
    inputs = {value.name: golden[value.name][:2] for value in model.graph.input}
    status = np.array([[2**31 - 1], [-(2**31)]], np.int32)
    outputs = runner(model)({**inputs, "STATUS": status})
    np.testing.assert_array_equal(outputs["STATUS_OUT"] & ~Status.DEGRADED, status & ~Status.DEGRADED)
    assert all(np.isfinite(value).all() for value in outputs.values())


def test_one_runner_runs_batches_of_any_size_in_turn(trained: Path) -> None:
    model, golden = load(trained, "step")
    for runner in RUNNERS.values():
        run = runner(model)
        for n in (3, 1, 2):
            outputs = run({value.name: golden[value.name][:n] for value in model.graph.input})
            assert outputs["LIVENESS"].shape == (n, 1)


def test_filters_keep_their_trained_coefficients(trained: Path) -> None:
    model, _ = load(trained, "clip")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    network = trained_looking(5)
    for node in (node for node in model.graph.node if node.op_type == "DIIRF"):
        level = int(node.name.split(".")[1])
        expected = network.fcams[level].filter.coefficients().detach().numpy()
        np.testing.assert_allclose(stored[node.input[3]], expected, rtol=0, atol=1e-6)


def test_freezing_does_not_change_the_network() -> None:
    network = trained_looking(1)
    before = parameters_sha256(network)
    frozen(network)
    assert parameters_sha256(network) == before


def test_one_changed_bit_changes_the_digest() -> None:
    network = create(0, SMALL)
    before = parameters_sha256(network)
    with torch.no_grad():
        network.head.weight[0, 0, 0, 0] = torch.nextafter(network.head.weight[0, 0, 0, 0], torch.tensor(9.0))
    assert parameters_sha256(network) != before


@pytest.mark.parametrize("changed", [{"score": "linear"}, {"longest_sequence": 0}, {"pole_radius": 0.8}])
def test_the_same_tensors_in_another_configuration_have_another_digest(changed: dict[str, Any]) -> None:
    network = create(0, SMALL)
    before = parameters_sha256(network)
    network.config = dataclasses.replace(network.config, **changed)
    assert parameters_sha256(network) != before
