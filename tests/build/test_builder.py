# SPDX-License-Identifier: Apache-2.0
"""The real builder of TensorRT for RTX: our graphs with the plugins become plans, for GPUs that this machine lacks.

A proxy around the plugins records what the builder asks. The builder launches no kernel, so a stand-in replaces them.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from eulernet.diirf import ONNX_OP
from eulernet_build.diirf_gate_function import GATE_OP
from eulernet_build.engine_command import served_graph
from eulernet_build.plan_checks import PLAN_FIELD
from eulernet_build.precision.half import to_half
from eulernet_build.precision.int8 import calibrate, to_int8
from eulernet_build.precision.variants import CLIP, STEP, read_graphs
from eulernet_build.rtx_plan_order import CAPABILITIES, REQUIREMENTS, Order, RtxError, RtxPlan, build_rtx_plan
from eulernet_build.surgery import fuse
from eulernet_core.shipped import model_repository
from eulernet_core.tensors import FACE, FACE_DETECTOR_MODEL
from eulernet_serving.plan_records import creators, plugin_nodes, profiles
from eulernet_serving.triton_config import read_config

pytestmark = pytest.mark.timeout(600)

SOURCE = model_repository()
ADA = "8.9"
LINEAR, HWC8, HWC = 0, 2, 8  # of nvinfer1::TensorFormat
FLOAT, HALF, INT32 = 0, 1, 3  # of nvinfer1::DataType
RUNTIME_CALLS = ("attachToContext", "onShapeChange", "enqueue", "getTimingCacheID")


@dataclass(frozen=True)
class Case:
    """One plan. `form`: `fused`, `exported` (a plugin per filter) or `bodies` (fused, without the plugin library)."""

    model: str
    form: str
    precision: str
    capability: str = ADA

    def __str__(self) -> str:
        return f"{self.model}-{self.form}-{self.precision}-{self.capability}"


FORMS = [("fused", "fp32"), ("fused", "fp16"), ("fused", "int8"), ("exported", "fp32"), ("exported", "int8")]
ALL = [Case(model, form, precision) for model in (STEP, CLIP) for form, precision in FORMS]
ALL += [Case(model, "fused", "fp32", each) for model in (STEP, CLIP) for each in CAPABILITIES if each != ADA]
# Covers each network, form and precision, and the newest GPU.
COVERING = {
    Case(STEP, "fused", "fp32"),
    Case(CLIP, "fused", "fp16"),
    Case(STEP, "exported", "int8"),
    Case(STEP, "fused", "fp32", "12.1"),
}
BODIES = [Case(STEP, "bodies", "fp32"), Case(CLIP, "bodies", "fp32")]
DETECTOR = [Case(FACE_DETECTOR_MODEL, "exported", "fp32", each) for each in CAPABILITIES]


def marked(cases: list[Case], covering: set[Case]) -> list[object]:
    """The cases as parameters; those that `covering` lacks are slow."""
    return [pytest.param(each, id=str(each), marks=() if each in covering else pytest.mark.slow) for each in cases]


@pytest.fixture(scope="module")
def ranges() -> dict[str, float]:
    """Ranges for int8, calibrated on one clip of the golden case: precision does not matter to the builder."""
    with np.load(SOURCE / CLIP / "1" / "golden.npz") as case:
        return calibrate(fuse(read_graphs(SOURCE)[CLIP]), case[FACE][:1])


@pytest.fixture(scope="module")
def graph_of(request: pytest.FixtureRequest) -> Callable[[Case], ModelProto]:
    """Makes a case's graph, once."""

    @functools.cache
    def make(case: Case) -> ModelProto:
        if case.model == FACE_DETECTOR_MODEL:
            return onnx.load(served_graph(case.model, SOURCE, Path(), request.getfixturevalue("face_models")))
        graph = read_graphs(SOURCE)[case.model]
        graph = graph if case.form == "exported" else fuse(graph)
        if case.precision == "int8":
            return to_int8(graph, request.getfixturevalue("ranges"))
        return to_half(graph) if case.precision == "fp16" else graph

    return make


@dataclass(frozen=True)
class Built:
    """A case's graph, its plan, and the calls that the plugins received."""

    graph: ModelProto
    plan: RtxPlan
    calls: list[dict[str, object]]

    def count(self, call: str) -> int:
        """How often the builder made a call."""
        return sum(each["call"] == call for each in self.calls)


@pytest.fixture
def build(rtx: Path, recorder: Path, graph_of: Callable[[Case], ModelProto], tmp_path: Path) -> Callable[..., Built]:
    """Builds a case, in a process of its own. `fault`: of recording_creators.cpp."""

    def run(case: Case, fault: str = "") -> Built:
        graph = graph_of(case)
        path, record = tmp_path / "graph.onnx", tmp_path / "calls"
        path.write_bytes(graph.SerializeToString())
        nodes = [] if case.form == "bodies" else plugin_nodes(graph)
        order = Order(
            graph=path,
            capability=case.capability,
            profiles=profiles(max_batch(case.model)),
            plugins=len(nodes),
            library=recorder if nodes else None,
            creators=tuple(sorted(creators(nodes))),
            level=0,
        )
        record.write_text("")
        plan = build_rtx_plan(order, rtx, {"EULERNET_RECORD": str(record), "EULERNET_FAULT": fault})
        return Built(graph, plan, [json.loads(line) for line in record.read_text().splitlines()])

    return run


def max_batch(model: str) -> int:
    return read_config(SOURCE / model / "config.pbtxt").max_batch_size


def first_state(case: Case) -> int:
    """Position of h1 among the inputs of the case's plugins."""
    return 2 if case.form == "fused" else 1


def sides(value: onnx.ValueInfoProto) -> list[int]:
    """Sizes of a graph's tensor without its batch."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim][1:]


@pytest.mark.parametrize("case", marked(ALL, COVERING))
def test_every_filter_becomes_a_plugin_layer(case, build):
    built = build(case)
    check_layers(case, built)
    check_profiles(case, built)
    check_formats(case, built)
    assert REQUIREMENTS[0].endswith(f"=={built.plan.version}")
    nodes = plugin_nodes(built.graph)
    assert built.plan.plan.count(PLAN_FIELD) >= len(nodes)
    for op in {node.op_type for node in nodes}:
        assert op.encode() in built.plan.plan
    assert built.count("createPlugin") == len(nodes)
    for call in ("getOutputDataTypes", "getOutputShapes", "supportsFormatCombination", "configurePlugin", "clone"):
        assert built.count(call) >= len(nodes), call
    assert built.count("getFieldsToSerialize") >= len(nodes)
    assert [built.count(call) for call in RUNTIME_CALLS] == [0] * len(RUNTIME_CALLS)


def check_layers(case: Case, built: Built) -> None:
    """Every plugin node of the graph is a layer; y is like x, the states are float32 and like the states before."""
    nodes, network = plugin_nodes(built.graph), built.plan.network
    assert {node.op_type for node in nodes} == {GATE_OP if case.form == "fused" else ONNX_OP}
    assert {layer.name for layer in network.plugins} == {node.name for node in nodes}
    assert [each.name for each in network.inputs] == [each.name for each in built.graph.graph.input]
    assert [each.name for each in network.outputs] == [each.name for each in built.graph.graph.output]
    first = first_state(case)
    for layer in network.plugins:
        like = (layer.inputs[0], layer.inputs[first], layer.inputs[first + 1])
        assert [each.shape for each in layer.outputs] == [each.shape for each in like]
        assert layer.outputs[0].dtype == ("HALF" if case.precision == "fp16" else "FLOAT")
        assert [each.dtype for each in layer.outputs[1:]] == ["FLOAT", "FLOAT"]


def check_profiles(case: Case, built: Built) -> None:
    """Each input has every profile's batches, and the plugins were configured for the largest."""
    wanted = profiles(max_batch(case.model))
    assert len(built.plan.profiles) == len(wanted)
    for found, profile in zip(built.plan.profiles, wanted, strict=True):
        assert set(found) == {value.name for value in built.graph.graph.input}
        for value in built.graph.graph.input:
            batches = (profile.least, profile.best, profile.most)
            assert [list(shape) for shape in found[value.name]] == [[batch, *sides(value)] for batch in batches]
    first = first_state(case)
    batches = {call["in"][first]["max"][0] for call in built.calls if call["call"] == "configurePlugin"}
    assert batches == {profile.most for profile in wanted}


def check_formats(case: Case, built: Built) -> None:
    """x and y share a type and a format, linear or channels last; all other tensors are linear."""
    seen = Counter()
    half = case.precision == "fp16"
    for call in built.calls:
        if call["call"] != "configurePlugin":
            continue
        x, *others = call["in"]
        y, *states = call["out"]
        assert (y["type"], y["format"]) == (x["type"], x["format"])
        assert x["type"] == (HALF if half else FLOAT)
        assert {each["format"] for each in (*others, *states)} == {LINEAR}
        assert {each["type"] for each in others} <= {FLOAT, INT32}
        assert {each["type"] for each in states} == {FLOAT}
        seen[x["format"]] += 1
    channels_last = {HWC8 if half else HWC} if case.form == "fused" else set()
    assert set(seen) == {LINEAR} | channels_last


@pytest.mark.parametrize("case", marked(BODIES, set(BODIES[:1])))
def test_without_the_library_the_bodies_are_built(case, build):
    built = build(case)
    assert built.plan.network.plugins == ()
    assert built.plan.network.layers > len(built.graph.graph.node)
    assert PLAN_FIELD not in built.plan.plan
    assert built.calls == []


@pytest.mark.parametrize("case", marked(DETECTOR, {DETECTOR[CAPABILITIES.index(ADA)]}))
def test_the_face_detector_is_built(case, build):
    built = build(case)
    assert built.plan.network.plugins == ()
    assert len(built.plan.profiles) == len(profiles(max_batch(case.model)))
    assert [each.name for each in built.plan.network.outputs] == [each.name for each in built.graph.graph.output]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no_format", "format"),
        ("wrong_output_type", "has type HALF, expected FLOAT"),
        ("failing_shapes", "shape"),
        ("failing_configure", "configurePlugin"),
        ("no_build_capability", "kBUILD"),
        ("null_clone", "signal 11"),
        ("wrong_output_shape", r"has shape \(.*expected \("),
        ("no_fields", "the plan has 0 fields"),
        ("states_in_any_format", "needs linear"),
    ],
)
def test_a_fault_of_the_plugin_is_detected(fault, words, build):
    with pytest.raises(RtxError, match=words):
        build(Case(STEP, "fused", "fp32"), fault)


def test_a_library_without_the_op_is_refused(rtx, graph_of, tmp_path):
    """No library is loaded, so the parser takes the bodies, in place of the plugins that were ordered."""
    graph = graph_of(Case(STEP, "fused", "fp32"))
    path = tmp_path / "graph.onnx"
    path.write_bytes(graph.SerializeToString())
    count = len(plugin_nodes(graph))
    with pytest.raises(RtxError, match=f"0 of {count} nodes"):
        build_rtx_plan(Order(path, ADA, profiles(1), plugins=count), rtx)


@pytest.mark.parametrize("capability", ["9.0", "10.0", "6.1"])
def test_other_gpus_are_refused(capability, tmp_path):
    with pytest.raises(RtxError, match=rf"{capability}.*{CAPABILITIES[0]}"):
        build_rtx_plan(Order(tmp_path / "graph.onnx", capability, profiles(1)), tmp_path)
