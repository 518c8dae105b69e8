"""The fp16 variant of a fused graph: casts in the graph, as TensorRT's strongly typed networks take precision.

Half precision reaches from the first convolution to the last. Pixels, statuses and the score stay as they are, and of
DIIRFGate only the features are half: its weight, coefficients, state and arithmetic stay fp32.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto

from eulernet_build.diirf_gate_function import GATE_OP
from eulernet_build.surgery import SurgeryError, exported, imported

_LARGEST = float(np.finfo(np.float16).max)
# By op, how many of the first inputs are features or weights. Resize's others are scales, DIIRFGate's the filter's.
_FEATURES = {"Conv": 3, "Relu": 1, "Add": 2, "Sub": 2, "Mul": 2, "Concat": 99, "Resize": 1, GATE_OP: 1}


def to_half(model: ModelProto, emulated: bool = False) -> ModelProto:
    """The graph with half precision from its first convolution to its last; inputs and outputs keep their types.

    Args:
        model: a fused graph.
        emulated: compute in fp32 and round every tensor that would be half, as tensor cores do, which sum in fp32. For
            measuring: on a CPU, ONNX Runtime computes a half graph in fp32 and leaves the roundings out.

    Raises:
        SurgeryError: an op between the convolutions is not known to run in half, or a weight is too large for it.
    """
    graph = imported(model)
    region = _between_convolutions(list(graph.nodes))
    for node in region:
        if node.op not in _FEATURES:
            what = f"{node.op} between convolutions, fp16 is known for {', '.join(_FEATURES)}"
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
    """The half counterparts of tensors; emulated, they are rounded to half and fp32 still."""

    def __init__(self, graph: gs.Graph, region: Sequence[gs.Node], emulated: bool) -> None:
        self._graph = graph
        self._emulated = emulated
        self._half: dict[int, gs.Tensor] = {}
        for node in region:
            self._answer(node)

    def half(self, tensor: gs.Tensor) -> gs.Tensor:
        """What a node of the region reads in place of a tensor."""
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
        """A node of the region answers in half; whoever is outside reads the tensor that there was."""
        tensor = node.outputs[0]
        tensor.dtype = np.float32  # a traced graph says it of inputs and outputs only
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
                f"{tensor.name}: {largest:g} is more than fp16 holds, {_LARGEST:g}; keep this graph in fp32"
            )
        values = tensor.values.astype(np.float16)
        return gs.Constant(f"{tensor.name}.fp16", values.astype(np.float32) if self._emulated else values)


def _between_convolutions(nodes: Sequence[gs.Node]) -> list[gs.Node]:
    """The convolutions, and what lies on a way from one of them to another."""
    convolutions = [node for node in nodes if node.op == "Conv"]
    below = _reached(convolutions, lambda node: (reader for made in node.outputs for reader in made.outputs))
    above = _reached(convolutions, lambda node: (maker for read in node.inputs for maker in read.inputs))
    return [node for node in nodes if id(node) in below & above]


def _reached(start: Iterable[gs.Node], following: Callable[[gs.Node], Iterable[gs.Node]]) -> set[int]:
    """The ids of the nodes that one gets to, with those where one starts."""
    reached: set[int] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if id(node) not in reached:
            reached.add(id(node))
            waiting += following(node)
    return reached
