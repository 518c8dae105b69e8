# SPDX-License-Identifier: Apache-2.0
"""The ONNX function body of `eulernet::DIIRF`: equations 1 to 3 of the SEKE 2022 slides in standard operators.

TensorRT replaces the node by the plugin of that name; every other runtime runs this body. The body is unrolled over T,
because loops are slow in every runtime and T is fixed in the served graphs.
"""

import onnx
from onnx import FunctionProto, NodeProto, helper

from eulernet.diirf import ONNX_DOMAIN, ONNX_OP

OPSET = 18
DOMAIN_VERSION = 1
INPUTS = ["x", "h1", "h2", "coefficients"]
OUTPUTS = ["y", "h1_out", "h2_out"]


def diirf_function(frames: int) -> FunctionProto:
    """The body for x with T = `frames`.

    Inputs: x (N, T, K, H, W), h1 and h2 (N, K, H, W), coefficients (K, 5) = b0, b1, b2, a1, a2.
    Outputs: y (N, T, K, H, W), h1_out and h2_out (N, K, H, W).
    """
    if frames < 1:
        raise ValueError(f"{ONNX_OP} over {frames} frames: needs at least 1")
    nodes = [
        integers("time_axis", [1]),
        *coefficient_nodes(),
        helper.make_node("Split", ["x"], [f"x{t}_framed" for t in range(frames)], axis=1, num_outputs=frames),
    ]
    h1, h2 = "h1", "h2"
    for t in range(frames):
        last = t == frames - 1
        new1, new2 = ("h1_out", "h2_out") if last else (f"h1_{t}", f"h2_{t}")
        nodes += [
            helper.make_node("Squeeze", [f"x{t}_framed", "time_axis"], [f"x{t}"]),
            *frame_nodes(t, h1, h2, new1, new2),
        ]
        nodes.append(helper.make_node("Unsqueeze", [f"y{t}", "time_axis"], [f"y{t}_framed"]))
        h1, h2 = new1, new2
    nodes.append(helper.make_node("Concat", [f"y{t}_framed" for t in range(frames)], ["y"], axis=1))
    return helper.make_function(
        domain=ONNX_DOMAIN,
        fname=ONNX_OP,
        inputs=INPUTS,
        outputs=OUTPUTS,
        nodes=nodes,
        opset_imports=[helper.make_opsetid("", OPSET)],
        attributes=["plugin_namespace", "plugin_version"],
    )


def coefficient_nodes() -> list[NodeProto]:
    """Nodes that split `coefficients` (K, 5) into b0, b1, b2, a1 and a2, each (1, K, 1, 1)."""
    names = ["b0", "b1", "b2", "a1", "a2"]
    return [
        integers("per_channel", [1, -1, 1, 1]),
        helper.make_node("Split", ["coefficients"], [f"{c}_column" for c in names], axis=1, num_outputs=5),
        *(helper.make_node("Reshape", [f"{c}_column", "per_channel"], [c]) for c in names),
    ]


def frame_nodes(t: int, h1: str, h2: str, new1: str, new2: str) -> list[NodeProto]:
    """The three equations for frame t: from x{t} and the states `h1`, `h2` to y{t} and the states `new1`, `new2`."""
    node, y = helper.make_node, f"y{t}"
    return [
        node("Mul", ["b0", f"x{t}"], [f"b0x{t}"]),
        node("Add", [f"b0x{t}", h1], [y]),
        node("Mul", ["b1", f"x{t}"], [f"b1x{t}"]),
        node("Add", [f"b1x{t}", h2], [f"b1xh{t}"]),
        node("Mul", ["a1", y], [f"a1y{t}"]),
        node("Sub", [f"b1xh{t}", f"a1y{t}"], [new1]),
        node("Mul", ["b2", f"x{t}"], [f"b2x{t}"]),
        node("Mul", ["a2", y], [f"a2y{t}"]),
        node("Sub", [f"b2x{t}", f"a2y{t}"], [new2]),
    ]


def integers(name: str, values: list[int]) -> NodeProto:
    """Node of a constant int64 tensor with one dimension."""
    tensor = helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [name], value=tensor)
