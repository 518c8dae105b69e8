# SPDX-License-Identifier: Apache-2.0
"""Graph surgery: fused graphs give the exported graphs' outputs, and graphs without the pattern are refused."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import TensorProto, helper

from eulernet.fcam import FCAM
from eulernet_build.diirf_gate_function import INPUTS, OUTPUTS, diirf_gate_function
from eulernet_build.export import CLIP_FOLDER, STEP_FOLDER
from eulernet_build.parity import TOLERANCE, Tensors, check_runtimes, compare, onnxruntime_runner, openvino_runner
from eulernet_build.surgery import SurgeryError, check_fused, exported, fuse, imported, random_inputs
from eulernet_core.shipped import model_repository
from eulernet_core.status import NOT_SCORED, Status

REPOSITORY = model_repository()
FOLDERS = {"step": STEP_FOLDER, "clip": CLIP_FOLDER}
RUNNERS = {"ONNX Runtime": onnxruntime_runner, "OpenVINO": openvino_runner}
CHANNELS, MAPS, HEIGHT, WIDTH = 6, 3, 5, 7
FEW = ~(Status.NO_FACE | Status.TOO_LARGE)  # leaves UNDECODABLE, so that half of random frames are usable


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    """The committed graphs by form."""
    return {form: onnx.load(REPOSITORY / folder / "model.onnx") for form, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def fused(graphs: dict[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    return {form: fuse(graph) for form, graph in graphs.items()}


def changed(model: onnx.ModelProto, change: Callable[[gs.Graph], object]) -> onnx.ModelProto:
    """A copy of the model with a changed graph."""
    graph = imported(model)
    change(graph)
    graph.toposort()
    return exported(graph, model)


@pytest.mark.parametrize("form", FOLDERS)
def test_each_fcam_is_one_node(graphs, fused, form: str) -> None:
    before, after = graphs[form], fused[form]
    gates = [node for node in after.graph.node if node.domain == "eulernet"]
    assert [node.op_type for node in gates] == ["DIIRFGate"] * 3
    assert [(function.domain, function.name) for function in after.functions] == [("eulernet", "DIIRFGate")]
    for node in gates:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        assert attributes == {"plugin_namespace": b"eulernet", "plugin_version": b"1"}
    assert len({node.name for node in gates}) == 3
    left = {node.op_type for node in after.graph.node}
    slices = [sum(node.op_type == "Slice" for node in each.graph.node) for each in (before, after)]
    assert slices[0] - slices[1] == {"step": 0, "clip": 12}[form]  # one for each frame of each filter
    assert not {"Expand", "Gather"} & left - ({"Expand"} if form == "clip" else {"Gather"})
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert {each.domain: each.version for each in after.opset_import} == {"": 18, "eulernet": 1}


def test_states_are_wired(fused) -> None:
    gates = [node for node in fused["step"].graph.node if node.op_type == "DIIRFGate"]
    assert [list(node.input[2:4]) for node in gates] == [[f"s{2 * i}_in", f"s{2 * i + 1}_in"] for i in range(3)]
    assert [list(node.output[1:]) for node in gates] == [[f"s{2 * i}_out", f"s{2 * i + 1}_out"] for i in range(3)]
    assert {node.input[5] for node in gates} == {"STATUS"}


@pytest.mark.parametrize("form", FOLDERS)
def test_the_golden_case_holds_in_every_runtime(fused, form: str) -> None:
    with np.load(REPOSITORY / FOLDERS[form] / "golden.npz") as golden:
        check_runtimes(fused[form], dict(golden), f"fused {form} graph")


@pytest.mark.parametrize("form", FOLDERS)
def test_random_inputs_with_every_status_agree(graphs, fused, form: str) -> None:
    inputs = random_inputs(graphs[form])
    assert set((inputs["STATUS"] % 32).ravel().tolist()) == set(range(32))
    assert inputs["STATUS"].max() > 127
    assert check_fused(graphs[form], fused[form], form) <= 1e-5
    # The outputs must depend on the statuses.
    usable = {**inputs, "STATUS": np.zeros_like(inputs["STATUS"])}
    run = onnxruntime_runner(fused[form])
    assert np.abs(run(usable)["LIVENESS"] - run(inputs)["LIVENESS"]).max() > 1e-3


def test_surgery_does_not_change_its_input(graphs, fused) -> None:
    before = graphs["step"].SerializeToString(deterministic=True)
    again = fuse(graphs["step"])
    assert graphs["step"].SerializeToString(deterministic=True) == before
    assert again.SerializeToString(deterministic=True) == fused["step"].SerializeToString(deterministic=True)


@pytest.mark.parametrize("form", FOLDERS)
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


@pytest.mark.parametrize("form", FOLDERS)
def test_a_graph_without_the_pattern_is_refused(fused, form: str) -> None:
    message = "eulernet::DIIRF in graph eulernet.*eulernet export"
    with pytest.raises(SurgeryError, match=message):
        fuse(fused[form])


def find(graph: gs.Graph, op: str, index: int = 0) -> gs.Node:
    return [node for node in graph.nodes if node.op == op][index]


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


def limit(graph: gs.Graph) -> None:
    find(graph, "Less").inputs[1] = gs.Constant("eight", np.array(8, np.int32))


def keep_other_flags(graph: gs.Graph) -> None:
    find(graph, "Less").inputs[0].inputs[0].inputs[1] = gs.Constant("sixteen", np.array(16, np.int32))


def divide_as_c_does(graph: gs.Graph) -> None:
    find(graph, "GreaterOrEqual").inputs[0].inputs[0].attrs["fmod"] = 1


def restart_from_one(graph: gs.Graph) -> None:
    filtered(graph).inputs[1].inputs[0].inputs[1] = gs.Constant("one", np.array(1, np.float32))


def swap_the_states(graph: gs.Graph) -> None:
    kept = filtered(graph).outputs[1].outputs[0]
    kept.inputs[1], kept.inputs[2] = kept.inputs[2], kept.inputs[1]


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
        ("step", restart_from_one, ": .*state of frame -1;"),
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


def one_gate(frames: int, data_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A DIIRFGate alone in a graph."""
    features, state = ["M", CHANNELS, HEIGHT, WIDTH], ["N", MAPS, HEIGHT, WIDTH]
    inputs = [features, [MAPS, CHANNELS], state, state, [MAPS, 5], ["N", frames]]
    types = [data_type, *[TensorProto.FLOAT] * 4, TensorProto.INT32]
    node = helper.make_node(
        "DIIRFGate", INPUTS, OUTPUTS, domain="eulernet", plugin_namespace="eulernet", plugin_version="1"
    )
    graph = helper.make_graph(
        [node],
        "one_gate",
        [helper.make_tensor_value_info(*each) for each in zip(INPUTS, types, inputs, strict=True)],
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in zip(OUTPUTS, types[:1] + types[2:4], [features, state, state], strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("eulernet", 1)]
    model = helper.make_model(graph, functions=[diirf_gate_function(frames)], opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def fcam_case(frames: int, n: int) -> tuple[Tensors, Tensors]:
    """Random inputs of a DIIRFGate with every kind of status, and the outputs of PyTorch's FCAM."""
    generator = torch.Generator().manual_seed(10 * frames + n)
    module = FCAM(CHANNELS, MAPS)
    with torch.no_grad():
        module.compress.weight.copy_(torch.randn(MAPS, CHANNELS, 1, 1, generator=generator))
        module.filter.b.copy_(torch.randn(MAPS, 3, generator=generator))
        module.filter.p.copy_(torch.randn(MAPS, 2, generator=generator))
    x = torch.randn(n * frames, CHANNELS, HEIGHT, WIDTH, generator=generator)
    h1, h2 = (torch.randn(n, MAPS, HEIGHT, WIDTH, generator=generator) for _ in range(2))
    status = torch.randint(0, 256, (n, frames), generator=generator, dtype=torch.int32) & FEW
    with torch.no_grad():
        outputs = module(x, h1, h2, (status & NOT_SCORED) == 0, (status & Status.RELOCATED) != 0)
        weight, coefficients = module.compress.weight[:, :, 0, 0], module.filter.coefficients()
    given = (x, weight, h1, h2, coefficients, status)
    return (
        {name: tensor.detach().numpy() for name, tensor in zip(INPUTS, given, strict=True)},
        {name: tensor.numpy() for name, tensor in zip(OUTPUTS, outputs, strict=True)},
    )


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("runtime", RUNNERS)
def test_the_body_is_fcam(runtime: str, frames: int, n: int) -> None:
    inputs, expected = fcam_case(frames, n)
    assert compare(expected, RUNNERS[runtime](one_gate(frames))(inputs), runtime) <= TOLERANCE


def test_half_features_are_computed_in_float() -> None:
    inputs, _ = fcam_case(frames=4, n=2)
    half = inputs["x"].astype(np.float16)
    expected = onnxruntime_runner(one_gate(4))({**inputs, "x": half.astype(np.float32)})
    actual = onnxruntime_runner(one_gate(4, TensorProto.FLOAT16))({**inputs, "x": half})
    assert actual["y"].dtype == np.float16
    np.testing.assert_array_equal(actual["y"], expected["y"].astype(np.float16))
    for name in OUTPUTS[1:]:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_a_nan_stays_in_its_pixel() -> None:
    inputs, expected = fcam_case(frames=1, n=2)
    inputs["x"][0, 2, 3, 4] = np.nan
    actual = onnxruntime_runner(one_gate(1))(inputs)
    assert np.argwhere(np.isnan(actual["y"]).any(axis=1)).tolist() == [[0, 3, 4]]
    rest = np.ones_like(expected["y"], bool)
    rest[0, :, 3, 4] = False
    np.testing.assert_allclose(actual["y"][rest], expected["y"][rest], atol=1e-5)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="DIIRFGate.* 0 frames"):
        diirf_gate_function(0)
