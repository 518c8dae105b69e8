# SPDX-License-Identifier: Apache-2.0
"""A small builder of ONNX graphs (opset 18): numbered names, so that the same calls always give the same bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 8  # what opset 18 came with: read by every runtime that reads the opset


class OnnxGraph:
    """Collects nodes and constants; values are referred to by name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant tensor and return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def scalar(self, value: float) -> str:
        """Add an fp32 constant of rank 0."""
        return self.constant(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """Add an int64 vector, as axes, shapes and pads are given."""
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        return self.add_many(kind, inputs, 1, **attributes)[0]

    def add_many(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add a node with `count` outputs and return their names."""
        name = f"{kind}_{len(self._nodes)}"
        outputs = [name] if count == 1 else [f"{name}.{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs

    def publish(self, value: str, name: str) -> None:
        """Give a value the name of a graph output."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"Identity_{len(self._nodes)}"))

    def finish(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, Sequence[int]]],
        outputs: Mapping[str, Sequence[int]],
        metadata: Mapping[str, str],
    ) -> bytes:
        """Check and serialise the model.

        Args:
            name: of the graph.
            inputs: tensor name -> (ONNX element type, shape without the batch, which is dynamic).
            outputs: tensor name -> shape without the batch; all fp32.
            metadata: goes into metadata_props, in this order.
        """
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(key, kind, ["N", *shape]) for key, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["N", *shape]) for key, shape in outputs.items()],
            initializer=self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="eulernet")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
