# SPDX-License-Identifier: Apache-2.0
"""The fp16 variant of a fused graph: Cast nodes set the precision, as TensorRT's strongly typed networks need it.

Tensors are fp16 from the first convolution to the last. Pixels, statuses and the score keep their types. Only the
features of DIIRFGate are fp16; its weight, coefficients, state and arithmetic stay fp32.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto

from eulernet_build.diirf_gate_function import GATE_OP
from eulernet_build.surgery import SurgeryError, exported, imported

_LARGEST = float(np.finfo(np.float16).max)
# By op, the number of leading inputs that are features or weights. The others are scales (Resize), axes (ReduceMean,
# ReduceMax) or the filter's (DIIRFGate).
_FEATURES = {
    "Conv": 3,
    "Relu": 1,
    "Add": 2,
    "Sub": 2,
    "Mul": 2,
    "Concat": 99,
    "Resize": 1,
    "ReduceMean": 1,
    "ReduceMax": 1,
    GATE_OP: 1,
}


def to_half(model: ModelProto, emulated: bool = False) -> ModelProto:
    """Converts the graph to fp16 between its first and its last convolution; inputs and outputs keep their types.

    Args:
        model: a fused graph.
        emulated: compute in fp32 and round every tensor to fp16, like tensor cores, which sum in fp32. For measurements
            on a CPU, where ONNX Runtime computes an fp16 graph in fp32 and omits the roundings.

    Raises:
        SurgeryError: an op between the convolutions does not support fp16, or a weight exceeds its range.
    """
    graph = imported(model)
    region = _between_convolutions(list(graph.nodes))
    for node in region:
        if node.op not in _FEATURES:
            what = f"{node.op} between convolutions, fp16 supports {', '.join(_FEATURES)}"
            raise SurgeryError(f"node {node.name}: {what}; fuse the graph first")
    features = _Features(graph, region, emulated)
    for node in region:
        for i, tensor in enumerate(node.inputs[: _FEATURES[node.op]]):
            node.inputs[i] = features.half(tensor)
    graph.cleanup().toposort()
    written = exported(graph, model)
    onnx.checker.check_model(written, full_check=True)
    return written


class _Features:
    """The fp16 counterparts of tensors; if emulated, fp32 tensors rounded to fp16."""

    def __init__(self, graph: gs.Graph, region: Sequence[gs.Node], emulated: bool) -> None:
        self._graph = graph
        self._emulated = emulated
        self._half: dict[int, gs.Tensor] = {}
        for node in region:
            self._answer(node)

    def half(self, tensor: gs.Tensor) -> gs.Tensor:
        """The tensor that a node of the region reads instead of `tensor`."""
        if id(tensor) not in self._half:
            if isinstance(tensor, gs.Constant):
                self._half[id(tensor)] = self._constant(tensor)
            else:
                self._half[id(tensor)] = self._cast(tensor, gs.Variable(f"{tensor.name}.fp16", np.float16))
                if self._emulated:
                    rounded = gs.Variable(f"{tensor.name}.rounded", np.float32)
                    self._half[id(tensor)] = self._cast(self._half[id(tensor)], rounded)
        return self._half[id(tensor)]

    def _answer(self, node: gs.Node) -> None:
        """Makes a node of the region compute fp16; nodes outside still read an fp32 tensor."""
        tensor = node.outputs[0]
        tensor.dtype = np.float32  # a traced graph has types of inputs and outputs only
        half = gs.Variable(f"{tensor.name}.fp16", np.float16)
        if self._emulated:
            node.outputs[0] = gs.Variable(f"{tensor.name}.exact", np.float32)
            self._cast(node.outputs[0], half)
        else:
            node.outputs[0] = half
        self._cast(half, tensor)
        self._half[id(tensor)] = tensor if self._emulated else half

    def _cast(self, tensor: gs.Tensor, to: gs.Variable) -> gs.Variable:
        attributes = {"to": int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(to.dtype)))}
        self._graph.nodes.append(gs.Node("Cast", f"{to.name}.cast", attributes, inputs=[tensor], outputs=[to]))
        return to

    def _constant(self, tensor: gs.Constant) -> gs.Constant:
        largest = float(np.abs(tensor.values).max())
        if largest > _LARGEST:
            raise SurgeryError(
                f"{tensor.name}: {largest:g} exceeds fp16's largest value, {_LARGEST:g}; keep this graph in fp32"
            )
        values = tensor.values.astype(np.float16)
        return gs.Constant(f"{tensor.name}.fp16", values.astype(np.float32) if self._emulated else values)


def _between_convolutions(nodes: Sequence[gs.Node]) -> list[gs.Node]:
    """The convolutions, and every node on a path from one of them to another."""
    convolutions = [node for node in nodes if node.op == "Conv"]
    below = _reached(convolutions, lambda node: (reader for made in node.outputs for reader in made.outputs))
    above = _reached(convolutions, lambda node: (maker for read in node.inputs for maker in read.inputs))
    return [node for node in nodes if id(node) in below & above]


def _reached(start: Iterable[gs.Node], following: Callable[[gs.Node], Iterable[gs.Node]]) -> set[int]:
    """The ids of the start nodes and of all nodes reachable from them."""
    reached: set[int] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if id(node) not in reached:
            reached.add(id(node))
            waiting += following(node)
    return reached
