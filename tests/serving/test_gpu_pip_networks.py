# SPDX-License-Identifier: Apache-2.0
"""Networks of the GPU configuration in this process, torch on the CPU: graphs, states, the rule that chooses."""

import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from eulernet_build.surgery import fuse
from eulernet_core.whole_files import sha256_of
from eulernet_serving.gpu_pip import network_choice
from eulernet_serving.gpu_pip.cuda_graphs import batch_sizes, graph_size
from eulernet_serving.gpu_pip.device_states import FIRST_ROW, DeviceStates
from eulernet_serving.gpu_pip.gpu_network import GpuNetwork, golden_difference
from eulernet_serving.gpu_pip.network_choice import NoNetworkError, Place, choose_network, unfit
from eulernet_serving.gpu_pip.plan_graph import PlanRunError, profile_for
from eulernet_serving.gpu_pip.torch_graph import TensorKind, TorchGraph
from eulernet_serving.gpu_pip.torch_operators import UnsupportedError
from eulernet_serving.plan_records import FUSED_GRAPH, PlanRecord, profiles
from eulernet_serving.sequence_store import SequenceStore, StoreLimits
from tests.conftest import FACE_MODELS
from tests.tensorrt_parts import PartMissingError, rtx_packages

REPOSITORY = Path(__file__).parents[2] / "model_repository"
DEVICE = torch.device("cpu")
FP32 = 1e-4
TRAINED = ("eulernet", "eulernet_clip")


def golden(model: str) -> dict[str, np.ndarray]:
    with np.load(REPOSITORY / model / "1" / "golden.npz") as file:
        return dict(file)


def network_of(graph: Path, streams: int = 16) -> GpuNetwork:
    return GpuNetwork(TorchGraph(graph, DEVICE), DEVICE, batch=8, streams=streams, captured=False)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the graphs whose attention modules are single nodes."""
    folder = tmp_path_factory.mktemp("fused")
    for model in TRAINED:
        made = fuse(onnx.load(REPOSITORY / model / "1" / "model.onnx"))
        assert {node.op_type for node in made.graph.node} >= {"DIIRFGate"}
        onnx.save(made, folder / f"{model}.onnx")
    return folder


@pytest.mark.parametrize("model", TRAINED)
@pytest.mark.parametrize("kind", ["exported", "fused"])
def test_torch_reproduces_the_golden_case(model: str, kind: str, fused: Path) -> None:
    graph = REPOSITORY / model / "1" / "model.onnx" if kind == "exported" else fused / f"{model}.onnx"
    assert golden_difference(network_of(graph), golden(model)) < FP32


def test_torch_runs_the_face_detector_as_onnx_runtime_does() -> None:
    path = FACE_MODELS / "face_detector.onnx"
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3)).astype(np.uint8)
    graph = TorchGraph(path, DEVICE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = dict(zip(graph.outputs, session.run(list(graph.outputs), {"IMAGE": images}), strict=True))
    found = graph({"IMAGE": torch.from_numpy(images)})
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name].numpy(), value, atol=FP32)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Erf", ["x"], ["y"])]
    inputs, outputs = ([value(name, TensorProto.FLOAT, ["N", 2])] for name in "xy")
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs)), tmp_path / "g.onnx")
    with pytest.raises(UnsupportedError, match="Erf"):
        TorchGraph(tmp_path / "g.onnx", DEVICE)


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """A graph with states of two types: s0 uint8 (2, 2), the picture; s1 int32 (1), the number of frames."""
    value = helper.make_tensor_value_info
    states = {"s0": (TensorProto.UINT8, [2, 2]), "s1": (TensorProto.INT32, [1])}
    nodes = [
        helper.make_node("Identity", ["FACE"], ["s0_out"]),
        helper.make_node("Add", ["s1_in", "one"], ["s1_out"]),
        helper.make_node("Identity", ["s0_in"], ["LAST"]),
        helper.make_node("Identity", ["s1_out"], ["COUNT"]),
    ]
    inputs = [value("FACE", TensorProto.UINT8, ["N", 2, 2])]
    inputs += [value(f"{name}_in", kind, ["N", *row]) for name, (kind, row) in states.items()]
    outputs = [value("LAST", TensorProto.UINT8, ["N", 2, 2]), value("COUNT", TensorProto.INT32, ["N", 1])]
    outputs += [value(f"{name}_out", kind, ["N", *row]) for name, (kind, row) in states.items()]
    one = helper.make_tensor("one", TensorProto.INT32, [1], [1])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [one])), tmp_path / "counting.onnx")
    return tmp_path / "counting.onnx"


def test_states_have_the_graphs_types_and_stay_with_their_stream(counting: Path) -> None:
    network = network_of(counting)
    assert {n: t.dtype for n, t in network.states.tables.items()} == {"s0": torch.uint8, "s1": torch.int32}
    slots = [network.states.start, network.states.start]
    for t in range(3):
        after = [network.states.take() for _ in slots]
        faces = np.full((2, 2, 2), [[[10 * t]], [[10 * t + 1]]], np.uint8)
        results = network({"FACE": faces}, slots, after)
        assert results["COUNT"].tolist() == [[t + 1]] * 2
        assert results["LAST"][:, 0, 0].tolist() == ([10 * (t - 1), 10 * (t - 1) + 1] if t else [0, 0])
        slots = after


def test_a_step_that_fails_leaves_the_state_as_it_was(counting: Path) -> None:
    network = network_of(counting)
    before = network.states.take()
    network({"FACE": np.zeros((1, 2, 2), np.uint8)}, [network.states.start], [before])
    for _ in range(2):  # the first step's result is thrown away, as after an exception
        after = network.states.take()
        assert network({"FACE": np.ones((1, 2, 2), np.uint8)}, [before], [after])["COUNT"].tolist() == [[2]]
        del after


def test_rows_are_bounded_and_come_back() -> None:
    states = DeviceStates.of({"s0_in": TensorKind((3,), torch.float32)}, streams=4, batch=2, device=DEVICE)
    assert states.bytes_per_stream() == 12
    store = SequenceStore(lambda: states.start, StoreLimits(4, 0, 30.0))
    for round_ in range(20):
        for stream in range(4):
            store.take(stream, start=round_ == 0)
            store.put(stream, states.take(), start=round_ == 0, end=False)
    assert len(states.free) == 2
    for stream in range(4):
        store.put(stream, states.take(), start=False, end=True)
    gc.collect()
    assert sorted(states.free) == list(range(FIRST_ROW, FIRST_ROW + 6))
    held = [states.take() for _ in range(6)]
    with pytest.raises(RuntimeError, match="free row"):
        states.take()
    assert len({slot.row for slot in held}) == 6


def test_states_of_idle_streams_come_back() -> None:
    now_s = [0.0]
    states = DeviceStates.of({"s0_in": TensorKind((1,), torch.float32)}, streams=2, batch=1, device=DEVICE)
    store = SequenceStore(lambda: states.start, StoreLimits(2, 0, 30.0), lambda: now_s[0])
    for stream in range(2):
        store.put(stream, states.take(), start=True, end=False)
    assert len(states.free) == 1
    now_s[0] = 31.0
    assert len(store) == 0
    assert len(states.free) == 3


def test_batches_are_padded_to_a_few_sizes() -> None:
    assert batch_sizes(64) == (1, 2, 4, 8, 16, 32, 64)
    assert batch_sizes(1) == (1,)
    assert batch_sizes(12) == (1, 2, 4, 8, 12)
    assert [graph_size(batch_sizes(12), count) for count in (1, 3, 8, 9, 12)] == [1, 4, 8, 12, 12]
    with pytest.raises(ValueError, match="13"):
        graph_size(batch_sizes(12), 13)


@pytest.mark.parametrize(("count", "index"), [(1, 0), (8, 0), (9, 1), (64, 1)])
def test_the_profile_is_the_nearest_that_fits(count: int, index: int) -> None:
    assert profile_for(profiles(64), count) == index
    with pytest.raises(PlanRunError, match="65"):
        profile_for(profiles(64), 65)


def place(folder: Path, precision: str = "fp32") -> Place:
    return Place(folder, DEVICE, precision, batch=8)


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "eulernet_clip" / "1" / "model.onnx", tmp_path)
    return tmp_path


def test_the_rule_takes_the_fused_graph_where_it_is(clip_folder: Path, fused: Path) -> None:
    assert "model.onnx" in choose_network(place(clip_folder), golden("eulernet_clip"))[1]
    shutil.copy(fused / "eulernet_clip.onnx", clip_folder / FUSED_GRAPH)
    assert FUSED_GRAPH in choose_network(place(clip_folder), golden("eulernet_clip"))[1]


def test_a_runtime_that_answers_otherwise_is_not_chosen(clip_folder: Path) -> None:
    wrong = golden("eulernet_clip")
    wrong["LIVENESS"] = wrong["LIVENESS"] + np.float32(0.01)
    with pytest.raises(NoNetworkError, match="from the golden case"):
        choose_network(place(clip_folder), wrong)
    wrong["LIVENESS"][:] = np.nan
    with pytest.raises(NoNetworkError):
        choose_network(place(clip_folder), wrong)


def test_another_precision_needs_a_plan(clip_folder: Path) -> None:
    with pytest.raises(NoNetworkError, match="fp16"):
        choose_network(place(clip_folder, "fp16"), golden("eulernet_clip"))


class _StandIn:
    """In place of a plan's graph, which needs a GPU: torch's graph with an error added to the scores."""

    def __init__(self, graph: TorchGraph, error: float) -> None:
        self.inputs, self.outputs, self._graph, self._error = graph.inputs, graph.outputs, graph, error

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        results = self._graph(inputs)
        return results | {"LIVENESS": results["LIVENESS"] + self._error}


def test_the_first_candidate_within_the_tolerance_is_chosen(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = TorchGraph(clip_folder / "model.onnx", DEVICE)

    def fail() -> _StandIn:
        raise PlanRunError("no such runtime")

    made = [
        network_choice.Candidate("broken", fail),
        network_choice.Candidate("wrong", lambda: _StandIn(graph, 0.01)),
        network_choice.Candidate("right", lambda: _StandIn(graph, 1e-6)),
        network_choice.Candidate("late", lambda: _StandIn(graph, 0.0)),
    ]
    monkeypatch.setattr(network_choice, "candidates", lambda place, refuse: iter(made))
    assert choose_network(place(clip_folder), golden("eulernet_clip"))[1].startswith("right, fp32")


def record_of(folder: Path) -> PlanRecord:
    graph = onnx.load(folder / "model.onnx")
    properties = {each.key: each.value for each in graph.metadata_props}
    return PlanRecord(
        model="eulernet_clip",
        plan_sha256="",
        graph_sha256=sha256_of(folder / "model.onnx"),
        parameters_sha256=properties["parameters_sha256"],
        weights=properties["weights"],
        precision="fp32",
        tensorrt="10.13.3.9",
        capability="9.0",
        gpu="H100",
        max_batch=16,
        profiles=profiles(16),
        plugin="beside",
        plugin_sha256="",
        difference=0.0,
        build_s=1.0,
    )


def test_a_plan_that_does_not_fit_is_refused_with_the_reason(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))  # there is no GPU to ask
    record = record_of(clip_folder)
    assert unfit(record, place(clip_folder)) == ""
    for change, word in (
        ({"precision": "fp16"}, "fp16"),
        ({"capability": "8.9"}, "8.9"),
        ({"parameters_sha256": "0"}, "weights"),
        ({"max_batch": 4}, "batches"),
    ):
        assert word in unfit(replace(record, **change), place(clip_folder))  # type: ignore[arg-type]


@pytest.mark.parametrize("works", [True, False])
def test_a_stage_ends_when_its_gpu_is_lost(works: bool) -> None:
    """Flags in place of a GPU that fails."""
    code = (
        "import sys, types\n"
        "sys.modules['triton_python_backend_utils'] = types.ModuleType('triton_python_backend_utils')\n"
        "from eulernet_serving.stages import gpu_setup\n"
        f"gpu_setup.device_works = lambda: {works}\n"
        "class Broken:\n"
        "    @gpu_setup.ends_with_its_gpu\n"
        "    def answer(self, requests):\n"
        "        raise RuntimeError('illegal address')\n"
        "try:\n"
        "    Broken().answer([])\n"
        "except RuntimeError:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode == (7 if works else 1)


NAMES = {
    "Runtime": ["deserialize_cuda_engine", "get_plugin_registry", "engine_host_code_allowed"],
    "ICudaEngine": [
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_shape",
        "num_io_tensors",
        "num_optimization_profiles",
    ],
    "IExecutionContext": [
        "execute_async_v3",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
    ],
    "IPluginRegistry": ["load_library"],
    "DataType": ["FLOAT", "HALF", "INT32", "UINT8"],
    "TensorIOMode": ["INPUT"],
    "Logger": ["WARNING"],
    "Dims": [],
}


def test_the_runtime_of_tensorrt_for_rtx_has_every_name_that_is_used() -> None:
    """A plan can't run here: there is no GPU."""
    try:
        packages = rtx_packages()
    except PartMissingError as error:
        pytest.skip(str(error))
    code = (
        "import json, sys, tensorrt_rtx_bindings as trt\n"
        "names = json.loads(sys.argv[1])\n"
        "missing = [f'{k}.{n}' for k, v in names.items() for n in v if not hasattr(getattr(trt, k), n)]\n"
        "assert not missing, missing\n"
        "print(trt.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(NAMES)],
        env={"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
