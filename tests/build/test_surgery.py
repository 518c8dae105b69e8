# SPDX-License-Identifier: Apache-2.0
"""Graph surgery: fused graphs give the exported graphs' outputs, and graphs without the pattern are refused."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import helper, numpy_helper

from eulernet.network import NetworkConfig, create
from eulernet_build.export import CLIP_FOLDER, STEP_FOLDER
from eulernet_build.graphs import clip_graph, step_graph
from eulernet_build.parity import ParityError, check_runtimes, compare, onnxruntime_runner
from eulernet_build.surgery import SurgeryError, check_fused, exported, fuse, imported, random_inputs
from eulernet_core.shipped import model_repository

REPOSITORY = model_repository()
FOLDERS = {"step": STEP_FOLDER, "clip": CLIP_FOLDER}
STARTED = {"started step": "step", "started clip": "clip"}
FORMS = [*FOLDERS, *STARTED]


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    """The committed graphs by form, also with starts from `start`."""
    committed = {form: onnx.load(REPOSITORY / folder / "model.onnx") for form, folder in FOLDERS.items()}
    return committed | {form: changed(committed[other], start_from_frames) for form, other in STARTED.items()}


@pytest.fixture(scope="module")
def fused(graphs: dict[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    return {form: fuse(graph) for form, graph in graphs.items()}


def changed(model: onnx.ModelProto, change: Callable[[gs.Graph], object]) -> onnx.ModelProto:
    """A copy of the model with a changed graph."""
    graph = imported(model)
    change(graph)
    graph.toposort()
    return exported(graph, model)


def start(level: int, end: int) -> np.ndarray:
    """s1 or s2 (`end` 1 or 2) of a level's four maps, so small that the scores of noise stay away from 0."""
    return (np.linspace(-0.3, -0.1, 4) * (level + 1) / end).astype(np.float32)


def start_from_frames(graph: gs.Graph) -> None:
    """Filters start from `start` times the compressed map of the frame."""
    levels: list[gs.Node] = []
    for i, node in enumerate(find_all(graph, "DIIRF")):
        before, frame = node.inputs[0].inputs[0], 0
        if before.op == "Slice":
            before, frame = before.inputs[0].inputs[0], int(before.inputs[1].values.item())
        if before not in levels:
            levels.append(before)
        picked = gs.Variable(f"picked{i}", np.float32)
        index = gs.Constant(f"frame{i}", np.array(frame))
        graph.nodes.append(gs.Node("Gather", f"pick{i}", {"axis": 1}, [before.outputs[0], index], [picked]))
        for end in (1, 2):
            factor = gs.Constant(f"start{i}.{end}", start(levels.index(before), end)[:, None, None])
            first = gs.Variable(f"first{i}.{end}", np.float32)
            graph.nodes.append(gs.Node("Mul", f"start{i}.{end}", {}, [factor, picked], [first]))
            # Not in place: h1 and h2 may share the choice of a first frame, where both are 0 in any case.
            condition, _, held = node.inputs[end].inputs[0].inputs
            node.inputs[end] = gs.Variable(f"before{i}.{end}", np.float32)
            graph.nodes.append(gs.Node("Where", f"begin{i}.{end}", {}, [condition, first, held], [node.inputs[end]]))
            for kept in node.outputs[end].outputs if len(node.outputs) > end else []:
                kept.inputs[2] = node.inputs[end]


@pytest.mark.parametrize("form", FORMS)
def test_each_fcam_is_one_node(graphs, fused, form: str) -> None:
    before, after = graphs[form], fused[form]
    gates = [node for node in after.graph.node if node.domain == "eulernet"]
    assert [node.op_type for node in gates] == ["DIIRFGate"] * 3
    assert [(function.domain, function.name) for function in after.functions] == [("eulernet", "DIIRFGate")]
    for node in gates:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert attributes == {"plugin_namespace": b"eulernet", "plugin_version": b"2"}
    assert len({node.name for node in gates}) == 3
    counts = [Counter(node.op_type for node in each.graph.node) for each in (before, after)]
    removed = {op: counts[0][op] - counts[1][op] for op in ("DIIRF", "Slice", "Sigmoid")}
    filters, slices = (12, 12) if "clip" in form else (3, 0)
    assert removed == {"DIIRF": filters, "Slice": slices, "Sigmoid": 3}
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert {each.domain: each.version for each in after.opset_import} == {"": 18, "eulernet": 1}


@pytest.mark.parametrize("form", ["step", "started step"])
def test_states_are_wired(fused, form: str) -> None:
    gates = [node for node in fused[form].graph.node if node.op_type == "DIIRFGate"]
    assert [list(node.input[2:4]) for node in gates] == [[f"s{2 * i}_in", f"s{2 * i + 1}_in"] for i in range(3)]
    assert [list(node.output[1:]) for node in gates] == [[f"s{2 * i}_out", f"s{2 * i + 1}_out"] for i in range(3)]
    assert len({node.input[5] for node in gates}) == 1


def gate_coefficients(model: onnx.ModelProto) -> list[np.ndarray]:
    """The columns of each DIIRFGate's coefficients."""
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return [values[node.input[4]].T for node in model.graph.node if node.op_type == "DIIRFGate"]


@pytest.mark.parametrize("form", STARTED)
def test_coefficients_hold_the_start(graphs, fused, form: str) -> None:
    for level, (columns, plain) in enumerate(
        zip(gate_coefficients(fused[form]), gate_coefficients(fused[STARTED[form]]), strict=True)
    ):
        np.testing.assert_array_equal(columns[:5], plain[:5])
        np.testing.assert_array_equal(columns[5:], [start(level, 1), start(level, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("export", [step_graph, clip_graph])
def test_the_graph_of_a_differential_network_is_fused(export: Callable[..., onnx.ModelProto]) -> None:
    config = NetworkConfig(widths=(8, 16, 48, 96), image_size=64, frame_difference="green", differential=True)
    network = create(5, config)
    network.scale.fill_(100.0)  # shows small differences
    with torch.no_grad():
        for fcam in network.fcams:
            fcam.filter.r.copy_(torch.linspace(-0.9, 0.8, len(fcam.filter.r)))
            fcam.compress.weight.mul_(4.0)
    graph = export(network, "test")
    model = fuse(graph)
    for b0, b1, b2, _, _, s1, s2 in gate_coefficients(model):
        np.testing.assert_array_equal([s1, s2], [-b0, b2])
        np.testing.assert_allclose(b1, -b0 - b2, atol=1e-7)
    assert check_fused(graph, model, "differential graph") <= 1e-5


@pytest.mark.parametrize("form", FOLDERS)
def test_the_golden_case_holds_in_every_runtime(fused, form: str) -> None:
    with np.load(REPOSITORY / FOLDERS[form] / "golden.npz") as golden:
        check_runtimes(fused[form], dict(golden), f"fused {form} graph")


@pytest.mark.parametrize("form", FORMS)
def test_random_inputs_with_every_status_agree(graphs, fused, form: str) -> None:
    inputs = random_inputs(graphs[form])
    assert set((inputs["STATUS"] % 32).ravel().tolist()) == set(range(32))
    assert inputs["STATUS"].max() > 127
    assert check_fused(graphs[form], fused[form], form) <= 1e-5
    # The outputs must depend on the statuses; noise has a low liveness.
    usable = {**inputs, "STATUS": np.zeros_like(inputs["STATUS"])}
    run = onnxruntime_runner(fused[form])
    found, with_statuses = run(usable)["LIVENESS"], run(inputs)["LIVENESS"]
    assert np.abs(found - with_statuses).max() > 0.5 * found.max() > 0.0


@pytest.mark.parametrize("form", STARTED)
def test_the_outputs_depend_on_the_start(graphs, fused, form: str) -> None:
    """Else the test above would not see a wrong one."""
    from_zero = onnx.ModelProto.FromString(fused[form].SerializeToString())
    for each in from_zero.graph.initializer:
        if each.name.endswith("gate.coefficients"):
            values = numpy_helper.to_array(each).copy()
            values[:, 5:] = 0.0
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    with pytest.raises(ParityError):
        check_fused(graphs[form], from_zero, form)


def test_surgery_does_not_change_its_input(graphs, fused) -> None:
    before = graphs["step"].SerializeToString(deterministic=True)
    again = fuse(graphs["step"])
    assert graphs["step"].SerializeToString(deterministic=True) == before
    assert again.SerializeToString(deterministic=True) == fused["step"].SerializeToString(deterministic=True)


@pytest.mark.parametrize("form", FORMS)
def test_fusion_ignores_names(graphs, form: str) -> None:
    def rename(graph: gs.Graph) -> None:
        ends = {id(each) for each in (*graph.inputs, *graph.outputs)}
        for i, tensor in enumerate(graph.tensors().values()):
            if id(tensor) not in ends:
                tensor.name = f"t{i}"
        for i, node in enumerate(graph.nodes):
            node.name = f"n{i}"

    renamed = fuse(changed(graphs[form], rename))
    assert sum(node.op_type == "DIIRFGate" for node in renamed.graph.node) == 3
    inputs = random_inputs(graphs[form], rows=2)
    compare(onnxruntime_runner(graphs[form])(inputs), onnxruntime_runner(renamed)(inputs), "the renamed graph")


def test_constants_are_folded(graphs) -> None:
    def compute_a_weight(graph: gs.Graph) -> None:
        conv = next(node for node in graph.nodes if node.op == "Conv" and node.inputs[1].shape[2:] == [1, 1])
        half = gs.Constant("half", conv.inputs[1].values / 2)
        weight = gs.Variable("weight")
        graph.nodes.append(gs.Node("Add", "doubling", inputs=[half, half], outputs=[weight]))
        conv.inputs[1] = weight

    unfolded = changed(graphs["step"], compute_a_weight)
    assert any(node.name == "doubling" for node in unfolded.graph.node)
    folded = fuse(unfolded)
    assert not any(node.name == "doubling" for node in folded.graph.node)
    assert check_fused(graphs["step"], folded, "folded graph") <= 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_without_the_pattern_is_refused(fused, form: str) -> None:
    message = "eulernet::DIIRF in graph eulernet.*eulernet export"
    with pytest.raises(SurgeryError, match=message):
        fuse(fused[form])


def find_all(graph: gs.Graph, op: str) -> list[gs.Node]:
    return [node for node in graph.nodes if node.op == op]


def find(graph: gs.Graph, op: str, index: int = 0) -> gs.Node:
    return find_all(graph, op)[index]


def filtered(graph: gs.Graph) -> gs.Node:
    """The first filter."""
    return find(graph, "DIIRF")


def compression(graph: gs.Graph) -> gs.Node:
    node = filtered(graph)
    while node.op != "Conv":
        node = node.inputs[0].inputs[0]
    return node


def gate(graph: gs.Graph) -> gs.Node:
    """The first product of features and gate."""
    node = find(graph, "Sigmoid")
    while node.op != "Mul":
        node = node.outputs[0].outputs[0]
    return node


def gate_something_else(graph: gs.Graph) -> None:
    node = gate(graph)
    other = next(i for i, tensor in enumerate(node.inputs) if tensor is compression(graph).inputs[0])
    node.inputs[other] = find(graph, "Conv", 3).outputs[0]


def bias_the_compression(graph: gs.Graph) -> None:
    conv = compression(graph)
    conv.inputs.append(gs.Constant("bias", np.ones(conv.inputs[1].shape[0], np.float32)))


def look_wider(graph: gs.Graph) -> None:
    conv = compression(graph)
    conv.inputs[1] = gs.Constant("wide", np.ones((*conv.inputs[1].shape[:2], 3, 3), np.float32))
    conv.attrs["kernel_shape"], conv.attrs["pads"] = [3, 3], [1, 1, 1, 1]


def begun(graph: gs.Graph, index: int = 0) -> gs.Node:
    """The choice between a start and h1 before a filter."""
    return find(graph, "DIIRF", index).inputs[1].inputs[0]


def kept(graph: gs.Graph) -> gs.Node:
    """The choice between the new and the old h1 after the first filter."""
    return filtered(graph).outputs[1].outputs[0]


def comparison(chosen: gs.Node) -> gs.Node:
    """The test of the status behind a choice."""
    node = chosen.inputs[0].inputs[0]
    while node.op not in ("Less", "GreaterOrEqual"):
        node = node.inputs[0].inputs[0]
    return node


def first_map(graph: gs.Graph, index: int = 0) -> tuple[gs.Node, int, int]:
    """The product of a start, and the positions of its constant and of its map."""
    node = begun(graph, index).inputs[1].inputs[0]
    constant = next(i for i, each in enumerate(node.inputs) if isinstance(each, gs.Constant))
    return node, constant, 1 - constant


def limit(graph: gs.Graph) -> None:
    comparison(kept(graph)).inputs[1] = gs.Constant("eight", np.array(8, np.int32))


def keep_other_flags(graph: gs.Graph) -> None:
    comparison(kept(graph)).inputs[0].inputs[0].inputs[1] = gs.Constant("sixteen", np.array(16, np.int32))


def divide_as_c_does(graph: gs.Graph) -> None:
    comparison(begun(graph)).inputs[0].inputs[0].attrs["fmod"] = 1


def start_from_one(graph: gs.Graph) -> None:
    begun(graph).inputs[1] = gs.Constant("one", np.array(1, np.float32))


def start_from_the_features(graph: gs.Graph) -> None:
    product, _, map_input = first_map(graph)
    product.inputs[map_input] = find(graph, "Conv", 2).outputs[0]


def start_from_another_frame(graph: gs.Graph) -> None:
    product, _, map_input = first_map(graph, 1)
    other, _, other_input = first_map(graph)
    product.inputs[map_input] = other.inputs[other_input]


def start_from_a_smaller_state(graph: gs.Graph) -> None:
    product, constant, _ = first_map(graph, 1)
    product.inputs[constant] = gs.Constant("half", product.inputs[constant].values / 2)


def start_by_column(graph: gs.Graph) -> None:
    product, constant, _ = first_map(graph)
    product.inputs[constant] = gs.Constant("row", np.ones((1, 1, 64), np.float32))


def cross_the_states(graph: gs.Graph) -> None:
    first, second = (each.inputs[0] for each in find(graph, "DIIRF", 1).inputs[1:3])
    first.inputs[2], second.inputs[2] = second.inputs[2], first.inputs[2]


def swap_the_states(graph: gs.Graph) -> None:
    node = kept(graph)
    node.inputs[1], node.inputs[2] = node.inputs[2], node.inputs[1]


def choose_coefficients(graph: gs.Graph) -> None:
    chosen = gs.Variable("COEFFICIENTS", np.float32, (4, 5))
    graph.inputs.append(chosen)
    filtered(graph).inputs[3] = chosen


def show_the_gate(graph: gs.Graph) -> None:
    shown = find(graph, "Sigmoid").outputs[0]
    shown.dtype, shown.shape = np.float32, ("N", 4, 64, 64)
    graph.outputs.append(shown)


def disorder(graph: gs.Graph) -> None:
    joined = filtered(graph).outputs[0].outputs[0]
    joined.inputs[0], joined.inputs[1] = joined.inputs[1], joined.inputs[0]


def stride(graph: gs.Graph) -> None:
    filtered(graph).inputs[0].inputs[0].inputs[2] = gs.Constant("two", np.array([2]))


def skip_a_frame(graph: gs.Graph) -> None:
    find(graph, "DIIRF", 1).inputs[0] = filtered(graph).inputs[0]


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        ("step", gate_something_else, ": does not multiply"),
        ("step", bias_the_compression, ": bias, expected"),
        ("step", look_wider, ": .*kernel_shape, expected"),
        ("step", limit, ": .* with 4;"),
        ("step", keep_other_flags, ": .* by 32;"),
        ("step", divide_as_c_does, ": .* by 4;"),
        ("step", start_from_one, ": a start from a constant other than 0;"),
        ("started step", start_from_the_features, ": .*expected Gather;"),
        ("started step", start_by_column, r": factor \(1, 1, 64\), expected \(4, 1, 1\);"),
        ("started clip", start_from_another_frame, ": does not select frame 1 of the compressed maps;"),
        ("started clip", start_from_a_smaller_state, ": its frames start from different states;"),
        ("clip", cross_the_states, ": does not select a start or frame 0's state;"),
        ("step", swap_the_states, ": .*state of frame 0;"),
        ("step", choose_coefficients, "COEFFICIENTS: .*constant"),
        ("step", show_the_gate, ": .* outside "),
        ("clip", disorder, ": .* order"),
        ("clip", stride, ": slice 0:2 of axis 1"),
        ("clip", skip_a_frame, ": 4 filters for 4 frames"),
    ],
)
def test_a_deviation_from_the_pattern_is_refused(graphs, form: str, damage: Callable, message: str) -> None:
    with pytest.raises(SurgeryError, match=message):
        fuse(changed(graphs[form], damage))
