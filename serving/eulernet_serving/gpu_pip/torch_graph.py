# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX graph in torch, its filters in this project's CUDA kernels where their library is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnx.inliner
import torch
from torch import Tensor

from eulernet_serving.gpu_pip.torch_operators import HOST_INPUTS, OPERATORS, Operator, UnsupportedError, torch_type

KERNEL_OPERATORS = ("DIIRF", "DIIRFGate")  # of the domain `eulernet`


@dataclass(frozen=True)
class TensorKind:
    """An input or output: `row`: the shape of one row, without the batch; `dtype`: torch's type."""

    row: tuple[int, ...]
    dtype: torch.dtype


class DeviceGraph(Protocol):
    """A graph on the device, for one calling thread. `inputs`, `outputs`: by name, in the graph's order."""

    inputs: dict[str, TensorKind]
    outputs: dict[str, TensorKind]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch of device tensors. The outputs are valid until the next call."""


@dataclass(frozen=True)
class _Node:
    operator: Operator
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    host: range


class TorchGraph:
    """A graph without state of its own.

    Args:
        path: ONNX file.
        device: of the computation.
        filters: operators in place of torch's, by name: the CUDA kernels.
    Raises: UnsupportedError for an operator that `torch_operators` lacks.
    """

    def __init__(self, path: Path, device: torch.device, filters: Mapping[str, Operator] | None = None) -> None:
        kept = [("eulernet", name) for name in KERNEL_OPERATORS]
        graph = onnx.inliner.inline_selected_functions(onnx.load(path), kept, exclude=True).graph
        self._device, self._operators = device, {**OPERATORS, **(filters or {})}
        self.inputs, self.outputs = kinds(graph.input), kinds(graph.output)
        self._host = {each.name: _tensor(each) for each in graph.initializer}
        self._nodes: list[_Node] = []
        for node in graph.node:
            self._add(node)
        self._constants = {name: value.to(device) for name, value in self._host.items()}

    def _add(self, node: onnx.NodeProto) -> None:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Constant":
            self._host[node.output[0]] = _tensor(attributes["value"])
            return
        if node.op_type not in self._operators:
            raise UnsupportedError(f"operator {node.domain}{'::' if node.domain else ''}{node.op_type}")
        host = HOST_INPUTS.get(node.op_type, range(0))
        made = _Node(
            self._operators[node.op_type],
            attributes | {"outputs": len(node.output)},
            tuple(node.input),
            tuple(node.output),
            range(len(node.input)) if host is None else host,
        )
        if node.op_type not in KERNEL_OPERATORS and all(name in self._host for name in node.input if name):
            self._host.update(_run(made, [self._host[name] if name else None for name in node.input]))
        else:
            self._nodes.append(made)

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch."""
        known: dict[str, Tensor] = dict(inputs)
        for node in self._nodes:
            on_device = any(known[name].device == self._device for name in node.inputs if name in known)
            given: list[Tensor | None] = []
            for position, name in enumerate(node.inputs):
                if not name:
                    given.append(None)
                elif name in known:
                    given.append(known[name])
                else:
                    here = on_device and position not in node.host
                    given.append(self._constants[name] if here else self._host[name])
            known.update(_run(node, given))
        return {name: known[name] if name in known else self._constants[name] for name in self.outputs}


def _run(node: _Node, given: Sequence[Tensor | None]) -> dict[str, Tensor]:
    made = node.operator(node.attributes, *given)
    return dict(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))


def _tensor(value: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(np.array(onnx.numpy_helper.to_array(value)))  # a copy: it may be read-only


def kinds(values: Sequence[onnx.ValueInfoProto]) -> dict[str, TensorKind]:
    """The inputs or outputs of a graph whose first dimension is the batch."""
    return {
        value.name: TensorKind(
            tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:]),
            torch_type(value.type.tensor_type.elem_type),
        )
        for value in values
    }
