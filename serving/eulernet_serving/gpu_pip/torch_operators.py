# SPDX-License-Identifier: Apache-2.0
"""ONNX operators in torch, as the exported graphs and the face detector use them (opset 18).

An operator takes its node's attributes and its inputs, None for one that is left out, and returns one tensor or a
tuple. Inputs listed in `HOST_INPUTS` (shapes, axes, bounds) come in host memory.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from eulernet_core.status import NOT_SCORED, Status

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]
RELOCATED, UNUSABLE = int(Status.RELOCATED), int(NOT_SCORED)

# Positions of the inputs that are read by the program and not by the device; None: all of them.
HOST_INPUTS: dict[str, range | None] = {
    "Clip": range(1, 3),
    "Expand": range(1, 2),
    "Pad": range(1, 4),
    "ReduceMax": range(1, 2),
    "ReduceMean": range(1, 2),
    "ReduceMin": range(1, 2),
    "ReduceSum": range(1, 2),
    "Reshape": range(1, 2),
    "Resize": range(1, 4),
    "Slice": range(1, 5),
    "Split": range(1, 2),
    "Squeeze": range(1, 2),
    "Tile": range(1, 2),
    "Unsqueeze": range(1, 2),
    "ConstantOfShape": None,
}


class UnsupportedError(Exception):
    """An operator, or a variant of one, that is not written here; the message names it."""


def torch_type(element_type: int) -> torch.dtype:
    """torch's type for a type of ONNX. Raises: UnsupportedError."""
    types: dict[int, torch.dtype] = {
        onnx.TensorProto.FLOAT: torch.float32,
        onnx.TensorProto.FLOAT16: torch.float16,
        onnx.TensorProto.BFLOAT16: torch.bfloat16,
        onnx.TensorProto.UINT8: torch.uint8,
        onnx.TensorProto.INT8: torch.int8,
        onnx.TensorProto.INT32: torch.int32,
        onnx.TensorProto.INT64: torch.int64,
        onnx.TensorProto.BOOL: torch.bool,
    }
    if element_type not in types:
        raise UnsupportedError(f"type {onnx.TensorProto.DataType.Name(element_type)}")
    return types[element_type]


def diirf(attributes: Attributes, x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
    """The biquad over time: x (N, T, K, H, W), h1 and h2 (N, K, H, W), coefficients (K, 5) -> y, h1, h2."""
    outputs = []
    for frame in x.unbind(dim=1):
        y, h1, h2 = _filtered(frame.to(h1.dtype), h1, h2, coefficients)
        outputs.append(y)
    return torch.stack(outputs, dim=1).to(x.dtype), h1, h2


def diirf_gate(
    attributes: Attributes, x: Tensor, weight: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor, status: Tensor
) -> tuple[Tensor, ...]:
    """A whole attention module: x (N * T, C, H, W), weight (K, C), h1 and h2 (N, K, H, W), coefficients (K, 7), status
    (N, T) -> y like x, h1, h2."""
    n, k, height, width = h1.shape
    compressed = functional.conv2d(x.float(), weight[:, :, None, None]).reshape(n, -1, k, height, width)
    s1, s2 = coefficients[:, 5:, None, None].unbind(dim=1)
    outputs = []
    for t, frame in enumerate(compressed.unbind(dim=1)):
        flag = status[:, t, None, None, None]
        usable, start = (flag & UNUSABLE) == 0, (flag & RELOCATED) != 0
        h1, h2 = torch.where(start, s1 * frame, h1), torch.where(start, s2 * frame, h2)
        y, new1, new2 = _filtered(frame, h1, h2, coefficients[:, :5])
        h1, h2 = torch.where(usable, new1, h1), torch.where(usable, new2, h2)
        outputs.append(y)
    gate = torch.sigmoid(torch.stack(outputs, dim=1).reshape(-1, k, height, width))
    return (x.float() * gate.repeat_interleave(x.shape[1] // k, dim=1)).to(x.dtype), h1, h2


def _filtered(x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b0, b1, b2, a1, a2 = coefficients[:, :, None, None].unbind(dim=1)
    y = b0 * x + h1
    return y, b1 * x + h2 - a1 * y, b2 * x - a2 * y


def _ints(values: Tensor | None) -> list[int]:
    return [] if values is None else [int(value) for value in values.reshape(-1).tolist()]


def _reduced(function: Callable[..., Tensor]) -> Operator:
    def reduce(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = _ints(axes) or list(attributes.get("axes", [])) or list(range(x.dim()))
        return function(x, dim=tuple(dims), keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    return x.to(torch_type(attributes["to"]))


def _clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    bounds = (None if bound is None else bound.item() for bound in (low, high))
    return torch.clamp(x, *bounds)


def _div(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if attributes.get("fmod") else torch.remainder(a, b)


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def fold(attributes: Attributes, first: Tensor, *rest: Tensor) -> Tensor:
        for each in rest:
            first = function(first, each)
        return first

    return fold


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    keep_zero = bool(attributes.get("allowzero"))
    sides = [x.shape[i] if side == 0 and not keep_zero else side for i, side in enumerate(_ints(shape))]
    return x.reshape(sides)


def _expand(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sides = np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape)))
    return x.expand(sides)


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _squeeze(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes)))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    begin = _ints(starts)
    for start, end, axis, step in zip(
        begin, _ints(ends), _ints(axes) or range(len(begin)), _ints(steps) or [1] * len(begin), strict=True
    ):
        if step < 1:
            raise UnsupportedError(f"Slice with step {step}")
        part = [slice(None)] * x.dim()
        part[axis % x.dim()] = slice(start, end, step)
        x = x[tuple(part)]
    return x


def _gather(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.dim()
    flat = x.index_select(axis, indices.reshape(-1).remainder(x.shape[axis]))
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    parts = _ints(sizes) or math.ceil(x.shape[axis] / attributes["outputs"])
    return torch.split(x, parts, dim=axis)


def _arg_max(attributes: Attributes, x: Tensor) -> Tensor:
    if attributes.get("select_last_index"):
        raise UnsupportedError("ArgMax with select_last_index")
    return torch.argmax(x, dim=attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))


def _padding(attributes: Attributes) -> list[int]:
    """ONNX's pads (begins, then ends) in the order of torch's pad: the last axis first."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedError(f"auto_pad {attributes['auto_pad'].decode()}")
    pads = list(attributes.get("pads", []))
    half = len(pads) // 2
    return [side for axis in reversed(range(half)) for side in (pads[axis], pads[half + axis])]


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads: list[int] = _padding(attributes)
    symmetric = pads[0::2] == pads[1::2]
    if not symmetric:
        x = functional.pad(x, pads)
    return functional.conv2d(
        x,
        weight,
        bias,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=tuple(pads[0::2][::-1]) if symmetric and pads else 0,
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    if attributes.get("ceil_mode") or attributes.get("storage_order"):
        raise UnsupportedError("MaxPool with ceil_mode or storage_order")
    x = functional.pad(x, _padding(attributes), value=-math.inf)
    return functional.max_pool2d(x, attributes["kernel_shape"], attributes.get("strides", (1, 1)))


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    pads = _padding(attributes)
    if attributes.get("ceil_mode") or (any(pads) and not attributes.get("count_include_pad")):
        raise UnsupportedError("AveragePool with ceil_mode, or with pads that are not counted")
    return functional.avg_pool2d(functional.pad(x, pads), attributes["kernel_shape"], attributes.get("strides", (1, 1)))


def _pad(
    attributes: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    if attributes.get("mode", b"constant") != b"constant" or axes is not None:
        raise UnsupportedError("Pad with another mode than constant, or with axes")
    return functional.pad(x, _padding({"pads": _ints(pads)}), value=0.0 if value is None else value.item())


def _resize(
    attributes: Attributes,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    mode = attributes.get("mode", b"nearest").decode()
    place = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode()
    if x.dim() != 4 or attributes.get("antialias"):
        raise UnsupportedError("Resize of other than four dimensions, or with antialias")
    sides = _ints(sizes)[2:] or [int(s * f) for s, f in zip(x.shape[2:], scales.tolist()[2:], strict=True)]  # type: ignore[union-attr]
    if mode == "linear" and place in ("half_pixel", "align_corners"):
        return functional.interpolate(x, sides, mode="bilinear", align_corners=place == "align_corners")
    if mode == "nearest" and (place, rounding) == ("asymmetric", "floor"):
        return functional.interpolate(x, sides, mode="nearest")
    raise UnsupportedError(f"Resize {mode}, {place}, {rounding}")


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (x.transpose(0, 1) if attributes.get(name) else x for x, name in ((a, "transA"), (b, "transB")))
    product = float(attributes.get("alpha", 1.0)) * (a @ b)
    return product if c is None else product + float(attributes.get("beta", 1.0)) * c


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    value = attributes.get("value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(np.array(onnx.numpy_helper.to_array(value)))
    return filled.reshape(()).expand(_ints(shape)).clone()


OPERATORS: dict[str, Operator] = {
    "Abs": lambda a, x: x.abs(),
    "Add": lambda a, x, y: x + y,
    "And": lambda a, x, y: x & y,
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "CastLike": lambda a, x, like: x.to(like.dtype),
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, dim=a["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "DIIRF": diirf,
    "DIIRFGate": diirf_gate,
    "Div": _div,
    "Equal": lambda a, x, y: x == y,
    "Exp": lambda a, x: x.exp(),
    "Expand": _expand,
    "Flatten": lambda a, x: x.reshape(math.prod(x.shape[: a.get("axis", 1)]), -1),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "Greater": lambda a, x, y: x > y,
    "GreaterOrEqual": lambda a, x, y: x >= y,
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Less": lambda a, x, y: x < y,
    "LessOrEqual": lambda a, x, y: x <= y,
    "Log": lambda a, x: x.log(),
    "MatMul": lambda a, x, y: x @ y,
    "Max": _variadic(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _variadic(torch.minimum),
    "Mod": _mod,
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Not": lambda a, x: ~x,
    "Or": lambda a, x, y: x | y,
    "PRelu": lambda a, x, slope: torch.where(x < 0, x * slope, x),
    "Pad": _pad,
    "Pow": lambda a, x, y: torch.pow(x, y),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": lambda a, x: functional.relu(x),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": _slice,
    "Softmax": lambda a, x: torch.softmax(x, dim=a.get("axis", -1)),
    "Split": _split,
    "Sqrt": lambda a, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: torch.tanh(x),
    "Tile": lambda a, x, repeats: x.repeat(_ints(repeats)),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": lambda a, condition, x, y: torch.where(condition, x, y),
}
