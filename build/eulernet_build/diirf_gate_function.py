# SPDX-License-Identifier: Apache-2.0
"""The ONNX function body of `eulernet::DIIRFGate`: a whole FCAM (SEKE 2022 slides) in standard operators.

TensorRT replaces the node by the plugin of that name and version, which computes it in one pass over memory; every
other runtime runs this body. Like DIIRF's body it is unrolled over T.
"""

from onnx import FunctionProto, NodeProto, TensorProto, helper

from eulernet.diirf import ONNX_DOMAIN, PLUGIN_ATTRIBUTES
from eulernet.network import RELOCATED, RESTART_PERIOD, UNUSABLE, USE_PERIOD
from eulernet_build.diirf_function import OPSET, frame_nodes, integers

GATE_OP = "DIIRFGate"
GATE_ATTRIBUTES = {**PLUGIN_ATTRIBUTES, "plugin_version": "2"}
COEFFICIENTS = ["b0", "b1", "b2", "a1", "a2", "s1", "s2"]  # columns of the input `coefficients`
INPUTS = ["x", "weight", "h1", "h2", "coefficients", "status"]
OUTPUTS = ["y", "h1_out", "h2_out"]
_STATUS_LIMITS = {
    "use_period": USE_PERIOD,
    "unusable_from": UNUSABLE,
    "start_period": RESTART_PERIOD,
    "start_from": RELOCATED,
}


def diirf_gate_function(frames: int) -> FunctionProto:
    """The body for sequences of T = `frames` adjacent frames.

    Inputs: x float or half (N * T, C, H, W), weight float (K, C), h1 and h2 float (N, K, H, W), coefficients float
    (K, 7) = b0, b1, b2, a1, a2, s1, s2, status int32 (N, T).
    Outputs: y like x, h1_out and h2_out float (N, K, H, W). Map k gates the k-th run of C / K consecutive channels.

    All arithmetic is in float for every type of x. At a start, a frame with the bit of RELOCATED, usable or not, h1 and
    h2 first become s1 and s2 times the compressed map of this frame. An unusable frame is gated like any other and does
    not enter h1 and h2.
    """
    if frames < 1:
        raise ValueError(f"{GATE_OP} over {frames} frames: needs at least 1")
    return helper.make_function(
        domain=ONNX_DOMAIN,
        fname=GATE_OP,
        inputs=INPUTS,
        outputs=OUTPUTS,
        nodes=[*_shapes(frames), *_compression(frames), *_filter(frames), *_gating(frames)],
        opset_imports=[helper.make_opsetid("", OPSET)],
        attributes=list(GATE_ATTRIBUTES),
    )


def _shapes(frames: int) -> list[NodeProto]:
    """Shapes for the Reshape nodes; they fold to constants where H and W are known."""
    node = helper.make_node
    return [
        *(integers(name, [value]) for name, value in (("copied", 0), ("one", 1), ("rest", -1), ("frames", frames))),
        node("Shape", ["weight"], ["maps"], end=1),
        node("Shape", ["x"], ["sides"], start=2),
        node("Concat", ["rest", "frames", "maps", "sides"], ["by_frame"], axis=0),
        node("Concat", ["rest", "maps", "one", "sides"], ["by_map"], axis=0),
        node("Concat", ["copied", "maps", "rest", "sides"], ["by_run"], axis=0),
        node("Concat", ["copied", "rest", "sides"], ["by_channel"], axis=0),
    ]


def _compression(frames: int) -> list[NodeProto]:
    """x to the compressed maps x0, x1, …, each float (N, K, H, W)."""
    node = helper.make_node
    return [
        integers("kernel_axes", [2, 3]),
        node("Cast", ["x"], ["x_float"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["weight", "kernel_axes"], ["kernel"]),
        node("Conv", ["x_float", "kernel"], ["compressed"], kernel_shape=[1, 1]),
        node("Reshape", ["compressed", "by_frame"], ["framed"]),
        node("Split", ["framed"], [f"x{t}_framed" for t in range(frames)], axis=1, num_outputs=frames),
        *(node("Squeeze", [f"x{t}_framed", "one"], [f"x{t}"]) for t in range(frames)),
    ]


def _filter(frames: int) -> list[NodeProto]:
    """x0, x1, … to y0, y1, …; the status of a frame decides whether it replaces and updates the state."""
    node = helper.make_node
    nodes = [
        integers("per_channel", [1, -1, 1, 1]),
        node("Split", ["coefficients"], [f"{c}_column" for c in COEFFICIENTS], axis=1, num_outputs=len(COEFFICIENTS)),
        *(node("Reshape", [f"{c}_column", "per_channel"], [c]) for c in COEFFICIENTS),
        *(
            node("Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT32, [], [value]))
            for name, value in _STATUS_LIMITS.items()
        ),
        node("Mod", ["status", "use_period"], ["flags_of_use"]),
        node("Less", ["flags_of_use", "unusable_from"], ["usable"]),
        node("Mod", ["status", "start_period"], ["flags_of_start"]),
        node("GreaterOrEqual", ["flags_of_start", "start_from"], ["start"]),
        integers("pixel_axes", [2, 3]),
    ]
    h1, h2 = "h1", "h2"
    for t in range(frames):
        last = t == frames - 1
        next1, next2 = ("h1_out", "h2_out") if last else (f"h1_{t}", f"h2_{t}")
        nodes.append(integers(f"frame{t}", [t]))
        for name in ("usable", "start"):
            nodes.append(node("Gather", [name, f"frame{t}"], [f"{name}{t}_flat"], axis=1))
            nodes.append(node("Unsqueeze", [f"{name}{t}_flat", "pixel_axes"], [f"{name}{t}"]))
        nodes += [
            node("Mul", ["s1", f"x{t}"], [f"s1x{t}"]),
            node("Mul", ["s2", f"x{t}"], [f"s2x{t}"]),
            node("Where", [f"start{t}", f"s1x{t}", h1], [f"h1_before{t}"]),
            node("Where", [f"start{t}", f"s2x{t}", h2], [f"h2_before{t}"]),
            *frame_nodes(t, f"h1_before{t}", f"h2_before{t}", f"h1_new{t}", f"h2_new{t}"),
            node("Where", [f"usable{t}", f"h1_new{t}", f"h1_before{t}"], [next1]),
            node("Where", [f"usable{t}", f"h2_new{t}", f"h2_before{t}"], [next2]),
        ]
        h1, h2 = next1, next2
    return nodes


def _gating(frames: int) -> list[NodeProto]:
    """y0, y1, … and x to y."""
    node = helper.make_node
    return [
        *(node("Unsqueeze", [f"y{t}", "one"], [f"y{t}_framed"]) for t in range(frames)),
        node("Concat", [f"y{t}_framed" for t in range(frames)], ["filtered"], axis=1),
        node("Reshape", ["filtered", "by_map"], ["filtered_maps"]),
        node("Sigmoid", ["filtered_maps"], ["gate"]),
        node("Reshape", ["x_float", "by_run"], ["x_runs"]),
        node("Mul", ["x_runs", "gate"], ["y_runs"]),
        node("Reshape", ["y_runs", "by_channel"], ["y_float"]),
        node("CastLike", ["y_float", "x"], ["y"]),
    ]
