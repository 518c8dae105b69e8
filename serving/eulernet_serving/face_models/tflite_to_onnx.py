# SPDX-License-Identifier: Apache-2.0
"""Converts float TFLite networks to ONNX, NHWC to NCHW, with a dynamic batch.

Follows the TFLite schema (FlatBuffers) and TensorFlow's rule for SAME padding: the odd pixel goes to the bottom right.
It knows the operators of the face networks and refuses every other by name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from eulernet_serving.face_models.onnx_graph import OnnxGraph

_ELEMENT_TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


class ConversionError(ValueError):
    """The network holds something that this converter does not know."""


def convert(data: bytes, graph: OnnxGraph, image: str) -> dict[str, str]:
    """Append a TFLite network to `graph`.

    Args:
        data: the TFLite file.
        graph: takes the nodes.
        image: name of a value fp32 (N, C, H, W), already normalised as the network expects.

    Returns:
        Names of the network's outputs as in the TFLite file -> names of values in `graph`. Outputs of rank 4 are NCHW.

    Raises:
        ConversionError: an unknown operator, option or tensor type.
    """
    return _Converter(tflite.Model.GetRootAsModel(data, 0), graph).run(image)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (before, after), the larger part after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Converter:
    def __init__(self, model: Any, graph: OnnxGraph) -> None:
        self._model = model
        self._net = model.Subgraphs(0)
        self._graph = graph
        self._values: dict[int, str] = {}
        self._constants: dict[int, NDArray[Any]] = {}
        self._handlers: dict[str, Callable[[Any], str]] = {
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "MAX_POOL_2D": self._max_pool,
            "ADD": self._add,
            "PAD": self._pad,
            "RELU": self._relu,
            "PRELU": self._prelu,
            "RESHAPE": self._reshape,
            "CONCATENATION": self._concat,
        }

    def run(self, image: str) -> dict[str, str]:
        if self._model.SubgraphsLength() != 1 or self._net.InputsLength() != 1:
            raise ConversionError("the TFLite file has several subgraphs or inputs; only one of each is supported")
        self._values[self._net.Inputs(0)] = image
        for i in range(self._net.OperatorsLength()):
            op = self._net.Operators(i)
            name = self._name(op)
            if name == "DEQUANTIZE":
                # Half-precision weights: widened once here instead of at every run.
                self._constants[op.Outputs(0)] = self._constant(op.Inputs(0)).astype(np.float32)
            elif name in self._handlers:
                self._values[op.Outputs(0)] = self._handlers[name](op)
            else:
                raise ConversionError(f"operator {i} is {name}; known: DEQUANTIZE, {', '.join(self._handlers)}")
        outputs = [self._net.Outputs(i) for i in range(self._net.OutputsLength())]
        return {self._net.Tensors(i).Name().decode(): self._value(i) for i in outputs}

    def _name(self, op: Any) -> str:
        code = self._model.OperatorCodes(op.OpcodeIndex())
        # Files older than schema 3a have the code in the deprecated 8-bit field only.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return str(_OPERATOR_NAMES.get(number, f"number {number}"))

    def _shape(self, index: int) -> list[int]:
        return [int(size) for size in self._net.Tensors(index).ShapeAsNumpy()]

    def _value(self, index: int) -> str:
        if index not in self._values:
            raise ConversionError(f"tensor {index} is a constant or undefined where an activation is expected")
        return self._values[index]

    def _constant(self, index: int) -> NDArray[Any]:
        if index in self._constants:
            return self._constants[index]
        tensor = self._net.Tensors(index)
        buffer = self._model.Buffers(tensor.Buffer())
        label = f"tensor {index} ({tensor.Name().decode()})"
        if tensor.Type() not in _ELEMENT_TYPES or tensor.Sparsity() is not None:
            raise ConversionError(f"{label}: sparse or of type {tensor.Type()}; float32, float16 and int32 are known")
        if buffer.DataLength() == 0:
            raise ConversionError(f"{label}: has no data, expected a constant")
        return np.frombuffer(buffer.DataAsNumpy().tobytes(), _ELEMENT_TYPES[tensor.Type()]).reshape(self._shape(index))

    def _options(self, op: Any, kind: Any) -> Any:
        table, options = op.BuiltinOptions(), kind()
        options.Init(table.Bytes, table.Pos)
        return options

    def _activated(self, value: str, code: int) -> str:
        if code == tflite.ActivationFunctionType.NONE:
            return value
        if code == tflite.ActivationFunctionType.RELU:
            return self._graph.add("Relu", value)
        if code == tflite.ActivationFunctionType.RELU6:
            return self._graph.add("Clip", value, self._graph.scalar(0.0), self._graph.scalar(6.0))
        raise ConversionError(f"fused activation {code}; NONE, RELU and RELU6 are known")

    def _window(self, op: Any, options: Any, kernel: Sequence[int], dilation: Sequence[int]) -> dict[str, list[int]]:
        """Attributes that Conv and MaxPool share: kernel, strides, pads (top, left, bottom, right)."""
        strides = [options.StrideH(), options.StrideW()]
        pads = [(0, 0), (0, 0)]
        if options.Padding() == tflite.Padding.SAME:
            reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
            pads = [same_padding(*args) for args in zip(self._shape(op.Inputs(0))[1:3], reach, strides, strict=True)]
        (top, bottom), (left, right) = pads
        return {"kernel_shape": list(kernel), "strides": strides, "pads": [top, left, bottom, right]}

    def _conv(self, op: Any) -> str:
        weights = self._constant(op.Inputs(1)).transpose(0, 3, 1, 2)  # OHWI to OIHW
        return self._convolve(op, self._options(op, tflite.Conv2DOptions), weights, group=1)

    def _depthwise(self, op: Any) -> str:
        weights = self._constant(op.Inputs(1)).transpose(3, 0, 1, 2)  # 1HWO to O1HW
        group = self._shape(op.Inputs(0))[3]
        return self._convolve(op, self._options(op, tflite.DepthwiseConv2DOptions), weights, group)

    def _convolve(self, op: Any, options: Any, weights: NDArray[Any], group: int) -> str:
        dilations = [options.DilationHFactor(), options.DilationWFactor()]
        out = self._graph.add(
            "Conv",
            self._value(op.Inputs(0)),
            self._graph.constant(weights),
            self._graph.constant(self._constant(op.Inputs(2))),
            dilations=dilations,
            group=group,
            **self._window(op, options, weights.shape[2:], dilations),
        )
        return self._activated(out, options.FusedActivationFunction())

    def _max_pool(self, op: Any) -> str:
        options = self._options(op, tflite.Pool2DOptions)
        window = self._window(op, options, [options.FilterHeight(), options.FilterWidth()], [1, 1])
        pooled = self._graph.add("MaxPool", self._value(op.Inputs(0)), **window)
        return self._activated(pooled, options.FusedActivationFunction())

    def _add(self, op: Any) -> str:
        left, right = op.Inputs(0), op.Inputs(1)
        if self._shape(left) != self._shape(right):
            raise ConversionError(f"ADD of {self._shape(left)} and {self._shape(right)}: broadcasting is not supported")
        total = self._graph.add("Add", self._value(left), self._value(right))
        return self._activated(total, self._options(op, tflite.AddOptions).FusedActivationFunction())

    def _pad(self, op: Any) -> str:
        amounts = self._constant(op.Inputs(1))  # (4, 2): before and after, of N, H, W, C
        if amounts.shape != (4, 2):
            raise ConversionError(f"PAD of a tensor of rank {len(amounts)}; only images (rank 4) are supported")
        pads = amounts[[0, 3, 1, 2]].T.flatten()
        return self._graph.add("Pad", self._value(op.Inputs(0)), self._graph.constant(pads.astype(np.int64)))

    def _relu(self, op: Any) -> str:
        return self._graph.add("Relu", self._value(op.Inputs(0)))

    def _prelu(self, op: Any) -> str:
        slope = self._constant(op.Inputs(1))
        if slope.shape[:2] != (1, 1):
            raise ConversionError(f"PRELU with slopes of shape {slope.shape}; one slope a channel is supported")
        return self._graph.add("PRelu", self._value(op.Inputs(0)), self._graph.constant(slope.reshape(-1, 1, 1)))

    def _reshape(self, op: Any) -> str:
        before, after = self._shape(op.Inputs(0)), self._shape(op.Outputs(0))
        if len(before) != 4 or len(after) == 4 or before[0] != after[0]:
            raise ConversionError(f"RESHAPE from {before} to {after}; only an image into a lower rank is supported")
        rows = self._graph.add("Transpose", self._value(op.Inputs(0)), perm=[0, 2, 3, 1])
        return self._graph.add("Reshape", rows, self._graph.ints(-1, *after[1:]))

    def _concat(self, op: Any) -> str:
        options = self._options(op, tflite.ConcatenationOptions)
        rank = len(self._shape(op.Outputs(0)))
        axis = options.Axis() % rank
        if rank == 4:
            axis = (0, 2, 3, 1)[axis]
        parts = [self._value(op.Inputs(i)) for i in range(op.InputsLength())]
        joined = self._graph.add("Concat", *parts, axis=axis)
        return self._activated(joined, options.FusedActivationFunction())
