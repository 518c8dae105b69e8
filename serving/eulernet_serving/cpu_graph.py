# SPDX-License-Identifier: Apache-2.0
"""Rewrites an exported graph for OpenVINO: the same numbers, with fewer passes over memory.

- A gate of each FCAM is spread over its channels by a 1x1 convolution. Copies, as exported, change the memory's order
  of all features and back.
- What is done with single pixels leaves the graph: the stem's input and the measure of detail, see `stem_input`.

A graph of another structure stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eulernet_core.tensors import (
    FACE,
    FACE_SIDE_PX,
    LONGEST_SEQUENCE_PARAMETER,
    STATE_INPUT_SUFFIX,
    STATUS,
)
from eulernet_serving.plan_records import graph_properties
from eulernet_serving.prepared_graph import GREEN, STEM, STEM_CHANNELS, PixelPart

_CHANNELS_FIRST = [0, 3, 1, 2]


def for_cpu(model: ModelProto) -> tuple[ModelProto, PixelPart | None]:
    """The rewritten graph, and what a caller computes of its pixels; None where the graph computes it itself.

    Args:
        model: without model-local functions.
    """
    rewritten = ModelProto.FromString(model.SerializeToString())
    _spread_gates(rewritten.graph)
    pixels = _take_pixels_out(rewritten)
    _prune(rewritten.graph)
    return rewritten, pixels


class _Nodes:
    """A graph's nodes by their tensors. Methods return None for what is not as expected."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph

    @cached_property
    def makers(self) -> dict[str, NodeProto]:
        return {output: node for node in self.graph.node for output in node.output}

    @cached_property
    def constants(self) -> dict[str, TensorProto]:
        return {each.name: each for each in self.graph.initializer}

    def maker(self, tensor: str, kind: str) -> NodeProto | None:
        node = self.makers.get(tensor)
        return node if node is not None and node.op_type == kind else None

    def value(self, tensor: str) -> NDArray[Any] | None:
        """A constant."""
        found = self.constants.get(tensor)
        return None if found is None else np.asarray(numpy_helper.to_array(found))

    def list_of(self, tensor: str) -> list[int]:
        """A constant of whole numbers, such as a shape; empty for another tensor."""
        value = self.value(tensor)
        return [] if value is None else [int(each) for each in value.ravel()]

    def with_constant(self, tensor: str, kind: str) -> tuple[str, NDArray[Any]] | None:
        """The variable and the constant operand of the operator that makes a tensor."""
        node = self.maker(tensor, kind)
        for variable, constant in (node.input, reversed(node.input)) if node is not None else ():
            value = self.value(constant)
            if value is not None:
                return variable, value
        return None

    def roots(self, tensor: str) -> set[str]:
        """What a tensor is computed from: inputs of the graph and constants."""
        found, waiting = set(), [tensor]
        while waiting:
            each = waiting.pop()
            if each not in self.makers:
                found.add(each)
                continue
            waiting += self.makers[each].input
        return found


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _spread_gates(graph: GraphProto) -> None:
    """Unsqueeze, Expand and Reshape of (N, K, S, S) to (N, K * G, S, S), each map G times, as one convolution."""
    nodes = _Nodes(graph)
    for reshape in [node for node in graph.node if node.op_type == "Reshape"]:
        expand = nodes.maker(reshape.input[0], "Expand")
        raised = None if expand is None else nodes.maker(expand.input[0], "Unsqueeze")
        if expand is None or raised is None or nodes.list_of(raised.input[1]) != [2]:
            continue
        copies, target = nodes.list_of(expand.input[1]), nodes.list_of(reshape.input[1])
        if len(copies) != 5 or len(target) != 4 or target[1] < 1 or target[1] % copies[2]:
            continue
        spread = np.repeat(np.eye(target[1] // copies[2], dtype=np.float32), copies[2], axis=0)[:, :, None, None]
        weight = numpy_helper.from_array(spread, f"{reshape.output[0]}.spread")
        graph.initializer.append(weight)
        inputs = [raised.input[0], weight.name]
        reshape.CopyFrom(helper.make_node("Conv", inputs, list(reshape.output), kernel_shape=[1, 1]))


@dataclass(frozen=True)
class _Stem:
    """The first convolution, and the linear operators before it.

    Attributes:
        node: the convolution.
        weight: of the pixels from 0 to 255 minus `centre`, and of the difference of green.
        difference: the tensor of the difference.
    """

    node: NodeProto
    weight: NDArray[np.float32]
    centre: float
    difference: str


def _take_pixels_out(model: ModelProto) -> PixelPart | None:
    """Cuts the graph before its stem's convolution, and STATUS_OUT off."""
    graph, nodes = model.graph, _Nodes(model.graph)
    stem, part = _stem(nodes), None
    if stem is not None:
        part = _pixel_part(model, nodes, stem)
    if stem is None or part is None:
        return None
    pictures = [FACE_SIDE_PX, FACE_SIDE_PX, STEM_CHANNELS]
    flat = numpy_helper.from_array(np.array([-1, *pictures], np.int64), f"{STEM}.shape")
    weight = numpy_helper.from_array(stem.weight, f"{STEM}.weight")
    graph.initializer.extend([flat, weight])
    graph.input.append(helper.make_tensor_value_info(STEM, TensorProto.FLOAT, ["N", part.frames, *pictures]))
    frames, turned = f"{STEM}.frames", f"{STEM}.channels_first"
    stem.node.input[0], stem.node.input[1] = turned, weight.name
    at = list(graph.node).index(stem.node)
    graph.node.insert(at, helper.make_node("Transpose", [frames], [turned], perm=_CHANNELS_FIRST))
    graph.node.insert(at, helper.make_node("Reshape", [STEM, flat.name], [frames]))
    kept = [value for value in graph.output if value.name not in part.made]
    del graph.output[:]
    graph.output.extend(kept)
    return part


def _pixel_part(model: ModelProto, nodes: _Nodes, stem: _Stem) -> PixelPart | None:
    """What is cut off; None where the graph's inputs, outputs and metadata are not those of an exported network."""
    kinds = {value.name: value.type.tensor_type for value in model.graph.input}
    longest = graph_properties(model).get(LONGEST_SEQUENCE_PARAMETER, "")
    if not longest.isdecimal() or not {FACE, STATUS} <= set(kinds):
        return None
    states = [name for name in kinds if name.endswith(STATE_INPUT_SUFFIX)]
    previous = _only(name for name in nodes.roots(stem.difference) if name in states and _is(kinds[name], np.uint8))
    count = _only(name for name in states if _is(kinds[name], np.int32))
    if states and not (previous and count):
        return None
    *frames, height, width, channels = (side.dim_value for side in kinds[FACE].shape.dim[1:])
    part = PixelPart(frames[0] if frames else 1, stem.centre, int(longest), previous, count)
    sides_fit = len(frames) <= 1 and (height, width, channels) == (FACE_SIDE_PX, FACE_SIDE_PX, 3)
    return part if sides_fit and part.made <= {value.name for value in model.graph.output} else None


def _stem(nodes: _Nodes) -> _Stem | None:
    """The first convolution, if it sees normalised pixels and the difference of green, as `eulernet.network` has it."""
    node = next((node for node in nodes.graph.node if node.op_type == "Conv"), None)
    joined = None if node is None else nodes.maker(node.input[0], "Concat")
    weight = None if node is None else nodes.value(node.input[1])
    if node is None or joined is None or weight is None or len(joined.input) != 2 or weight.shape[1] != STEM_CHANNELS:
        return None
    shifted = nodes.with_constant(joined.input[0], "Add")
    scaled = None if shifted is None else nodes.with_constant(shifted[0], "Mul")
    change = nodes.with_constant(joined.input[1], "Mul")
    pixels = None if scaled is None else nodes.maker(scaled[0], "Transpose")
    if shifted is None or scaled is None or change is None or pixels is None:
        return None
    offset, gain, slope = shifted[1].ravel(), scaled[1].ravel(), change[1].ravel()
    centres = -np.asarray(offset, np.float64) / gain
    if _attribute(pixels, "perm", []) != _CHANNELS_FIRST or not _is_green(nodes, pixels.output[0]):
        return None
    if gain.shape != (3,) or slope.shape != (1,) or np.ptp(centres) > 1e-6 * abs(centres[0]):
        return None
    factors = np.concatenate([gain, slope]).astype(np.float64)[:, None, None]
    return _Stem(node, (weight * factors).astype(np.float32), float(centres[0]), change[0])


def _is_green(nodes: _Nodes, pixels: str) -> bool:
    """Whether green is the one channel that is taken out of the pixels."""
    taken = [node for node in nodes.graph.node if node.op_type == "Slice" and node.input[0] == pixels]
    return [[nodes.list_of(each) for each in node.input[1:4]] for node in taken] == [[[GREEN], [GREEN + 1], [1]]]


def _is(kind: Any, dtype: type[np.generic]) -> bool:
    return bool(helper.tensor_dtype_to_np_dtype(kind.elem_type) == np.dtype(dtype))


def _only(names: Iterable[str]) -> str:
    """The one name; "" for none or several."""
    found = list(names)
    return found[0] if len(found) == 1 else ""


def _prune(graph: GraphProto) -> None:
    """Removes what no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for values in (graph.input, graph.initializer):
        named = [each for each in values if each.name in needed]
        del values[:]
        values.extend(named)
