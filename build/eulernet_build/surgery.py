# SPDX-License-Identifier: Apache-2.0
"""Graph surgery for TensorRT: replaces each FCAM of an exported graph by one node `eulernet::DIIRFGate`.

Finds an FCAM by the operators and connections of its nodes, never by their names:

    features   x ─ Conv 1x1 ─ Reshape [─ Slice t] ─ DIIRF t [─ Concat] ─ Reshape ─ Sigmoid
               ─ Unsqueeze ─ Expand ─ Reshape ─ Mul with x: y
    state      h ─ Where(start t, s * map t, h): before ─ DIIRF t ─ Where(usable t, new h, before) ─ h of frame t + 1

map t is frame t of the compressed maps; s has a constant for each map, and the constant 0 may replace the product.
usable is status % 32 < 4, start is status % 4 >= 2, as in `eulernet.network`. Graphs with T = 1 lack the nodes in
brackets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto

from eulernet.diirf import ONNX_DOMAIN, ONNX_OP
from eulernet.network import RELOCATED, RESTART_PERIOD, UNUSABLE, USE_PERIOD
from eulernet_build.diirf_function import DOMAIN_VERSION, OPSET
from eulernet_build.diirf_gate_function import GATE_ATTRIBUTES, GATE_OP, diirf_gate_function
from eulernet_build.parity import Tensors, compare, onnxruntime_runner
from eulernet_core.tensors import STATUS

STATUSES = USE_PERIOD  # all flags that the graph reads, in every combination
NOTES = 8  # combinations of the three flags above
EXPORTED = "use a graph that `eulernet export` wrote from a network with FCAM"


class SurgeryError(Exception):
    """The graph does not match the pattern; the message names the node and the expectation."""


@dataclass(frozen=True)
class Chain:
    """The tensors of one FCAM in a graph.

    Attributes:
        x: (N * T, C, H, W).
        weight: (K, C).
        coefficients: (K, 7).
        status: (N, T); its bit 2 is a start.
        before: h1 and h2 before the first frame, each (N, K, H, W).
        after: h1 and h2 after the last frame; None if nothing reads it.
        y: like x.
        frames: T.
    """

    x: gs.Tensor
    weight: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    status: gs.Tensor
    before: tuple[gs.Tensor, gs.Tensor]
    after: tuple[gs.Tensor | None, gs.Tensor | None]
    y: gs.Tensor
    frames: int


@dataclass(frozen=True)
class _State:
    """h1 or h2 of a chain: before the first frame, after the last (None if nothing reads it), status, and s (K,)."""

    before: gs.Tensor
    after: gs.Tensor | None
    status: gs.Tensor
    start: NDArray[np.float32]


def fuse(model: ModelProto) -> ModelProto:
    """Folds constants and replaces each FCAM by one DIIRFGate. The given model is not changed.

    Inputs, outputs and metadata stay the same; the function body of DIIRFGate replaces DIIRF's.

    Raises:
        SurgeryError: the graph has no FCAM, or an FCAM does not match the pattern.
    """
    graph = imported(model)
    graph.fold_constants().cleanup().toposort()
    chains = find_chains(graph)
    frames = {chain.frames for chain in chains}
    if len(frames) > 1:
        raise SurgeryError(f"FCAMs over {sorted(frames)} frames: all share one function body, so T must be the same")
    for i, chain in enumerate(chains):
        _replace(graph, chain, f"fcams.{i}.gate")
    graph.cleanup().toposort()
    for node in _filters(graph):
        raise SurgeryError(f"node {node.name}: a node outside the FCAM reads its output; {EXPORTED}")
    fused = exported(graph, model)
    kept = [function for function in model.functions if (function.domain, function.name) != (ONNX_DOMAIN, ONNX_OP)]
    del fused.functions[:]
    fused.functions.extend([*kept, diirf_gate_function(frames.pop())])
    onnx.checker.check_model(fused, full_check=True)
    return fused


def check_fused(model: ModelProto, fused: ModelProto, label: str, seed: int = 0) -> float:
    """Compares both graphs in ONNX Runtime on random faces and states, with every combination of flags that matters.

    Returns: the largest difference.
    Raises: ParityError.
    """
    inputs = random_inputs(model, seed)
    return compare(onnxruntime_runner(model)(inputs), onnxruntime_runner(fused)(inputs), f"the fused {label}")


def random_inputs(model: ModelProto, seed: int = 0, rows: int | None = None) -> Tensors:
    """Inputs of an exported graph: faces of noise, states between -1 and 1, all flags of STATUS.

    Args:
        model: a step graph or a clip graph.
        seed: of the noise.
        rows: number of sequences or clips; by default enough for every STATUS.
    """
    frames = next(each.type.tensor_type.shape.dim[1].dim_value for each in model.graph.input if each.name == STATUS)
    rows = rows or -(-STATUSES // frames)
    rng = np.random.default_rng(seed)
    inputs: Tensors = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [rows, *(side.dim_value for side in kind.shape.dim[1:])]
        if kind.elem_type == onnx.TensorProto.UINT8:
            inputs[value.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif kind.elem_type == onnx.TensorProto.FLOAT:
            inputs[value.name] = rng.uniform(-1, 1, shape).astype(np.float32)
        elif value.name == STATUS:
            flags = rng.permutation(rows * frames).reshape(shape) % STATUSES
            inputs[value.name] = (flags + STATUSES * rng.integers(0, NOTES, shape)).astype(np.int32)
        else:
            inputs[value.name] = rng.integers(0, 9, shape, dtype=np.int32)
    return inputs


def imported(model: ModelProto) -> gs.Graph:
    """An editable copy of the model's graph."""
    return gs.import_onnx(ModelProto.FromString(model.SerializeToString()))


def exported(graph: gs.Graph, model: ModelProto) -> ModelProto:
    """The graph as a model, with the metadata, opsets and versions of `model`, which onnx-graphsurgeon drops."""
    written: ModelProto = gs.export_onnx(graph, do_type_check=False)
    del written.metadata_props[:], written.opset_import[:], written.graph.value_info[:]
    written.metadata_props.extend(model.metadata_props)
    written.opset_import.extend(
        [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(ONNX_DOMAIN, DOMAIN_VERSION)]
    )
    written.ir_version, written.producer_name = model.ir_version, model.producer_name
    return written


def find_chains(graph: gs.Graph) -> list[Chain]:
    """The FCAMs of a graph in execution order. Raises: SurgeryError."""
    by_source: dict[int, list[gs.Node]] = {}
    for node in _filters(graph):
        by_source.setdefault(id(_framed(node)), []).append(node)
    if not by_source:
        raise SurgeryError(f"no node {ONNX_DOMAIN}::{ONNX_OP} in graph {graph.name}: it has no FCAM; {EXPORTED}")
    return [_chain(filters) for filters in by_source.values()]


def _filters(graph: gs.Graph) -> list[gs.Node]:
    return [node for node in graph.nodes if node.op == ONNX_OP and node.domain == ONNX_DOMAIN]


def _chain(filters: Sequence[gs.Node]) -> Chain:
    """The FCAM with these DIIRF nodes, one per frame."""
    reshape = _framed(filters[0]).inputs[0]
    shape = _constant(_framed(filters[0]).inputs[1], "the shape of the compressed maps")
    if len(shape) != 5:
        raise SurgeryError(f"node {reshape.name}: shape {shape.tolist()}, expected (N, T, K, H, W); {EXPORTED}")
    frames, maps = int(shape[1]), int(shape[2])
    ordered = sorted(filters, key=lambda node: _frame_index(node, frames))
    if [_frame_index(node, frames) for node in ordered] != list(range(frames)):
        raise SurgeryError(f"node {filters[0].name}: {len(filters)} filters for {frames} frames; {EXPORTED}")
    conv = _producer(reshape, "Conv")
    weight = _compression(conv)
    coefficients = _constant(ordered[0].inputs[3], "filter coefficients")
    if weight.shape[0] != maps or coefficients.shape != (maps, 5):
        what = f"{weight.shape[0]} maps and coefficients {coefficients.shape}"
        raise SurgeryError(f"node {ordered[0].name}: {what}, expected {maps} and ({maps}, 5); {EXPORTED}")
    if any(node.inputs[3] is not ordered[0].inputs[3] for node in ordered):
        raise SurgeryError(f"node {ordered[0].name}: its coefficients differ between frames; {EXPORTED}")
    states = [_states(ordered, end, maps) for end in (1, 2)]
    statuses = {id(state.status): state.status for state in states}
    if len(statuses) > 1:
        raise SurgeryError(f"node {ordered[0].name}: h1 and h2 use different statuses; {EXPORTED}")
    return Chain(
        x=conv.inputs[0],
        weight=weight,
        coefficients=np.column_stack([coefficients, *(state.start for state in states)]),
        status=next(iter(statuses.values())),
        before=(states[0].before, states[1].before),
        after=(states[0].after, states[1].after),
        y=_gated(ordered, conv.inputs[0], weight.shape),
        frames=frames,
    )


def _framed(node: gs.Node) -> gs.Node:
    """The Reshape to (N, T, K, H, W) before a DIIRF node."""
    before = _producer(node.inputs[0], "Slice", "Reshape")
    return _producer(before.inputs[0], "Reshape") if before.op == "Slice" else before


def _frame_index(node: gs.Node, frames: int) -> int:
    """Index t of a DIIRF node's frame."""
    before = _producer(node.inputs[0], "Slice", "Reshape")
    if before.op == "Reshape":
        if frames != 1:
            raise SurgeryError(f"node {node.name}: filters {frames} frames at once, expected one; {EXPORTED}")
        return 0
    start, end, axis, *step = (int(_constant(each, "the bounds of a frame").item()) for each in before.inputs[1:])
    if end != start + 1 or axis != 1 or step not in ([], [1]):
        raise SurgeryError(f"node {before.name}: slice {start}:{end} of axis {axis}, expected one frame; {EXPORTED}")
    return start


def _compression(conv: gs.Node) -> NDArray[np.float32]:
    """The weight (K, C) of a 1x1 convolution without bias. Raises: SurgeryError for any other convolution."""
    weight = _constant(conv.inputs[1], "the weight of the compression")
    plain = {"group": 1, "auto_pad": "NOTSET"}
    lists = {"strides": 1, "pads": 0, "dilations": 1, "kernel_shape": 1}
    odd = [name for name, value in plain.items() if conv.attrs.get(name, value) != value]
    odd += [name for name, value in lists.items() if set(conv.attrs.get(name, [value])) != {value}]
    if weight.shape[2:] != (1, 1) or odd or len(conv.inputs) > 2:
        what = ", ".join([*odd, *(["bias"] if len(conv.inputs) > 2 else [])]) or f"weight {weight.shape}"
        raise SurgeryError(f"node {conv.name}: {what}, expected a 1x1 convolution without bias; {EXPORTED}")
    return weight[:, :, 0, 0]


def _states(filters: Sequence[gs.Node], end: int, maps: int) -> _State:
    """Follows a state through the frames.

    Args:
        filters: the DIIRF nodes in the order of their frames.
        end: 1 for h1, 2 for h2.
        maps: K.
    """
    first = held = _producer(filters[0].inputs[end], "Where").inputs[2]
    statuses, starts = [], []
    after: gs.Tensor | None = None
    for t, node in enumerate(filters):
        dropped = _producer(node.inputs[end], "Where")
        if dropped.inputs[2] is not held:
            raise SurgeryError(f"node {dropped.name}: does not select a start or frame {t - 1}'s state; {EXPORTED}")
        starts.append(_start(dropped.inputs[1], _framed(node), t, maps))
        statuses.append(_status(dropped.inputs[0], t, start=True))
        readers = node.outputs[end].outputs if len(node.outputs) > end else []
        if not readers and t == len(filters) - 1:
            break
        kept = _reader(node.outputs[end], "Where")
        if kept.inputs[1] is not node.outputs[end] or kept.inputs[2] is not dropped.outputs[0]:
            raise SurgeryError(f"node {kept.name}: does not select the new or the old state of frame {t}; {EXPORTED}")
        statuses.append(_status(kept.inputs[0], t, start=False))
        after = held = kept.outputs[0]
    if any(status is not statuses[0] for status in statuses):
        raise SurgeryError(f"node {filters[0].name}: its frames use different statuses; {EXPORTED}")
    if any(not np.array_equal(start, starts[0]) for start in starts):
        raise SurgeryError(f"node {filters[0].name}: its frames start from different states; {EXPORTED}")
    return _State(first, after if readers else None, statuses[0], starts[0])


def _start(value: gs.Tensor, framed: gs.Node, t: int, maps: int) -> NDArray[np.float32]:
    """s (K,) of the state s * map t that a start at frame t selects. Raises: SurgeryError."""
    if isinstance(value, gs.Constant):
        if np.any(value.values):
            raise SurgeryError(f"tensor {value.name}: a start from a constant other than 0; {EXPORTED}")
        return np.zeros(maps, np.float32)
    product = _producer(value, "Mul")
    factors = sorted(product.inputs, key=lambda each: isinstance(each, gs.Constant))
    column = _constant(factors[1], "the factor of a start")
    if column.shape not in [(maps, 1, 1), (1, maps, 1, 1)]:
        raise SurgeryError(f"node {product.name}: factor {column.shape}, expected ({maps}, 1, 1); {EXPORTED}")
    picked = _producer(factors[0], "Gather")
    index = _constant(picked.inputs[1], "the index of a frame")
    whole = picked.inputs[0] is framed.outputs[0] and picked.attrs.get("axis") == 1
    if not whole or index.shape != () or int(index) != t:
        raise SurgeryError(f"node {picked.name}: does not select frame {t} of the compressed maps; {EXPORTED}")
    return column.astype(np.float32).ravel()


def _status(condition: gs.Tensor, t: int, start: bool) -> gs.Tensor:
    """The status tensor behind a condition (N, 1, 1, 1) of frame t. Raises: SurgeryError."""
    axes = 0
    node = _producer(condition, "Unsqueeze", "Gather")
    while node.op == "Unsqueeze":
        added = _constant(node.inputs[1], "axes")
        axes += len(added) if np.all(added > 0) else 9
        node = _producer(node.inputs[0], "Unsqueeze", "Gather")
    frame = _constant(node.inputs[1], "the index of a frame")
    if axes != 3 or node.attrs.get("axis") != 1 or frame.size != 1 or int(frame.item()) != t:
        raise SurgeryError(f"node {node.name}: does not select the status of frame {t}; {EXPORTED}")
    if start:
        return _compared(_producer(node.inputs[0], "GreaterOrEqual"), RELOCATED, RESTART_PERIOD)
    return _compared(_producer(node.inputs[0], "Less"), UNUSABLE, USE_PERIOD)


def _compared(node: gs.Node, limit: int, period: int) -> gs.Tensor:
    """The status whose remainder a node compares with `limit`. Raises: SurgeryError for other numbers."""
    if _constant(node.inputs[1], "a limit of the status").item() != limit:
        raise SurgeryError(f"node {node.name}: does not compare with {limit}; {EXPORTED}")
    remainder = _producer(node.inputs[0], "Mod")
    if _constant(remainder.inputs[1], "a period of the status").item() != period or remainder.attrs.get("fmod", 0):
        raise SurgeryError(f"node {remainder.name}: does not divide by {period}; {EXPORTED}")
    return remainder.inputs[0]


def _gated(filters: Sequence[gs.Node], x: gs.Tensor, weight_shape: tuple[int, ...]) -> gs.Tensor:
    """y: the product of x and the sigmoid of the filters' outputs, each map repeated for its run of channels."""
    maps, channels = weight_shape
    answers = [node.outputs[0] for node in filters]
    if len(answers) == 1:
        answer = answers[0]
    else:
        joined = _reader(answers[0], "Concat")
        if joined.attrs.get("axis") != 1 or [id(each) for each in joined.inputs] != [id(each) for each in answers]:
            raise SurgeryError(f"node {joined.name}: does not concatenate the frames in order; {EXPORTED}")
        answer = joined.outputs[0]
    ops = ("Reshape", "Sigmoid", "Unsqueeze", "Expand", "Reshape", "Mul")
    nodes: list[gs.Node] = []
    for op in ops:
        nodes.append(_reader(nodes[-1].outputs[0] if nodes else answer, op))
    shapes = [_constant(node.inputs[1], "a shape").tolist() for node in nodes if node.op not in ("Sigmoid", "Mul")]
    sides = shapes[0][2:]
    if shapes != [[-1, maps, *sides], [2], [1, 1, channels // maps, 1, 1], [-1, channels, *sides]]:
        what = f"{maps} maps over runs of {channels // maps} channels"
        raise SurgeryError(f"node {nodes[-1].name}: shapes {shapes} do not belong to {what}; {EXPORTED}")
    if not any(each is x for each in nodes[-1].inputs):
        raise SurgeryError(f"node {nodes[-1].name}: does not multiply the compressed tensor {x.name}; {EXPORTED}")
    return nodes[-1].outputs[0]


def _replace(graph: gs.Graph, chain: Chain, name: str) -> None:
    """Replaces a chain by a DIIRFGate; the chain's own nodes stay in the graph without a reader."""
    outputs = [chain.y, *chain.after]
    for i, tensor in enumerate(outputs):
        if tensor is None:
            outputs[i] = gs.Variable(f"{name}.h{i}", dtype=np.float32)
        else:
            tensor.inputs.clear()
    weight = gs.Constant(f"{name}.weight", np.ascontiguousarray(chain.weight))
    coefficients = gs.Constant(f"{name}.coefficients", chain.coefficients)
    inputs = [chain.x, weight, *chain.before, coefficients, chain.status]
    attributes = dict(GATE_ATTRIBUTES)
    graph.nodes.append(gs.Node(GATE_OP, name, attributes, inputs=inputs, outputs=outputs, domain=ONNX_DOMAIN))


def _producer(tensor: gs.Tensor, *ops: str) -> gs.Node:
    """The node that computes a tensor. Raises: SurgeryError if it has none of these ops."""
    made_by = tensor.inputs[0] if tensor.inputs else None
    if made_by is None or made_by.op not in ops:
        found = "an input or a constant" if made_by is None else f"{made_by.op} {made_by.name}"
        raise SurgeryError(f"tensor {tensor.name}: computed by {found}, expected {' or '.join(ops)}; {EXPORTED}")
    return made_by


def _reader(tensor: gs.Tensor, *ops: str) -> gs.Node:
    """The only node that reads a tensor. Raises: SurgeryError if there are several, or it has none of these ops."""
    readers = _distinct(tensor.outputs)
    if len(readers) != 1 or readers[0].op not in ops:
        found = ", ".join(f"{node.op} {node.name}" for node in readers) or "nothing"
        raise SurgeryError(f"tensor {tensor.name}: read by {found}, expected one {' or '.join(ops)}; {EXPORTED}")
    return readers[0]


def _distinct(nodes: Sequence[gs.Node]) -> list[gs.Node]:
    return list({id(node): node for node in nodes}.values())


def _constant(tensor: gs.Tensor, what: str) -> NDArray[Any]:
    """A constant's values. Raises: SurgeryError if a node computes the tensor."""
    if not isinstance(tensor, gs.Constant):
        raise SurgeryError(f"tensor {tensor.name}: {what} is not constant; {EXPORTED}")
    return np.asarray(tensor.values)
