# SPDX-License-Identifier: Apache-2.0
"""Checks a parsed network and a plan for faults of a plugin library that TensorRT accepts without a message."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto, ValueInfoProto

# The field that every plugin writes into a plan: kSerializationField of plugins/diirf/plugin.h.
PLAN_FIELD = b"serialization_version"

# Position of h1 among a plugin's inputs, by the number of its inputs (DIIRF 4, DIIRFGate 6); h2 follows h1. See
# plugins/diirf/*_op.cpp. The ops' names are not imported: they would import torch.
FIRST_STATE = {4: 1, 6: 2}
OUTPUTS = 3

# TensorRT's names of the graphs' data types.
TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "FLOAT",
    onnx.TensorProto.FLOAT16: "HALF",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.BOOL: "BOOL",
}


@dataclass(frozen=True)
class NetworkTensor:
    """`shape`: -1 is a dimension not known; `dtype`: TensorRT's name, such as `HALF`."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class PluginLayer:
    """A plugin layer of a network."""

    name: str
    inputs: tuple[NetworkTensor, ...]
    outputs: tuple[NetworkTensor, ...]


@dataclass(frozen=True)
class NetworkDescription:
    """A parsed network. `layers`: their number, plugins included."""

    inputs: tuple[NetworkTensor, ...]
    outputs: tuple[NetworkTensor, ...]
    plugins: tuple[PluginLayer, ...]
    layers: int


def network_faults(network: NetworkDescription, graph: ModelProto, plugins: int) -> list[str]:
    """Compares a network with the graph that it was parsed from.

    Args:
        network: as TensorRT describes it.
        graph: the ONNX graph.
        plugins: number of its nodes that must be plugin layers.
    Returns: a text for each fault.
    """
    faults = []
    if len(network.plugins) != plugins:
        faults.append(f"{len(network.plugins)} of {plugins} nodes became plugin layers, the others function bodies")
    for layer in network.plugins:
        faults += _layer_faults(layer)
    faults += _interface_faults("input", network.inputs, graph.graph.input)
    faults += _interface_faults("output", network.outputs, graph.graph.output)
    return faults


def plan_faults(plan: bytes, plugins: int) -> list[str]:
    """Searches a plan for the field that each plugin layer must have written: without it, no server can load the plan.

    For TensorRT for RTX, whose plans contain the names of fields as they are.
    """
    found = plan.count(PLAN_FIELD)
    if found < plugins:
        return [f"the plan has {found} fields {PLAN_FIELD.decode()} for {plugins} plugin layers"]
    return []


def _layer_faults(layer: PluginLayer) -> Iterator[str]:
    first = FIRST_STATE.get(len(layer.inputs))
    if first is None or len(layer.outputs) != OUTPUTS:
        yield f"layer {layer.name}: {len(layer.inputs)} inputs and {len(layer.outputs)} outputs fit no op"
        return
    models = (layer.inputs[0], layer.inputs[first], layer.inputs[first + 1])
    for output, model in zip(layer.outputs, models, strict=True):
        if output.dtype != model.dtype:
            yield f"layer {layer.name}: output {output.name} has type {output.dtype}, expected {model.dtype}"
        if not _fit(output.shape, model.shape):
            yield f"layer {layer.name}: output {output.name} has shape {output.shape}, expected {model.shape}"


def _interface_faults(kind: str, found: Sequence[NetworkTensor], wanted: Sequence[ValueInfoProto]) -> Iterator[str]:
    if [each.name for each in found] != [each.name for each in wanted]:
        names = ", ".join(each.name for each in found)
        yield f"{kind}s {names}; the graph has {', '.join(each.name for each in wanted)}"
        return
    for tensor, value in zip(found, wanted, strict=True):
        kind_of = value.type.tensor_type
        shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in kind_of.shape.dim)
        dtype = TYPES.get(kind_of.elem_type, "a type that no graph has")
        if tensor.dtype != dtype or not _fit(tensor.shape, shape):
            yield f"{kind} {tensor.name}: {tensor.dtype} {tensor.shape}; the graph has {dtype} {shape}"


def _fit(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes have one rank and no known sizes that differ."""
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))
