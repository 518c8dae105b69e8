# SPDX-License-Identifier: Apache-2.0
"""Compares a graph with PyTorch: runs its golden case in ONNX Runtime and OpenVINO."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, inliner

Tensors = dict[str, np.ndarray[Any, Any]]
TensorMap = Mapping[str, np.ndarray[Any, Any]]
Runner = Callable[[TensorMap], Tensors]

# In units of the expected tensor's largest value, at least 1. Every layer sums up to 1,152 float32 terms, in
# an order that depends on the runtime. Measured: 6e-6 at most.
TOLERANCE = 1e-5


class ParityError(RuntimeError):
    """A graph's outputs differ from the expected outputs; the message names tensor, runtime and difference."""


def compare(expected: TensorMap, actual: TensorMap, who: str, tolerance: float = TOLERANCE) -> float:
    """Compares `actual` with `expected`.

    Integers must be equal. Floats may differ by `tolerance`, in units of the expected tensor's largest value where this
    is above 1: large terms may cancel to a small value. A NaN on either side is an error.

    Returns:
        The largest difference, in these units.

    Raises:
        ParityError: a tensor is missing, has another shape or type, is not finite, or differs.
    """
    worst = 0.0
    for name, want in expected.items():
        if name not in actual:
            raise ParityError(f"{name} from {who}: missing; its outputs are {', '.join(actual)}")
        got = actual[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            raise ParityError(f"{name} from {who}: {got.dtype}{got.shape}, expected {want.dtype}{want.shape}")
        if not (np.isfinite(want).all() and np.isfinite(got).all()):
            raise ParityError(
                f"{name} from {who}: NaN or infinity in the output or in the expected values; check the weights"
            )
        difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
        unit = max(1.0, float(np.abs(want).max(initial=0.0)))
        if (difference > (0.0 if want.dtype.kind in "iu" else tolerance * unit)).any():
            raise ParityError(
                f"{name} from {who}: differs by {difference.max():.3g}, {tolerance:g} is allowed; "
                "the graph does not compute the network's outputs"
            )
        worst = max(worst, float(difference.max(initial=0.0) / unit))
    return worst


def onnxruntime_runner(model: ModelProto, *, optimized: bool = True) -> Runner:
    """Runs a model in ONNX Runtime on the CPU; DIIRF runs as its function body.

    Args:
        model: the graph.
        optimized: False: each operator as written. An int8 graph is then computed in float32, which holds its sums
            exactly, between its Q/DQ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: TensorMap) -> Tensors:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def openvino_runner(model: ModelProto, precision: str = "f32") -> Runner:
    """Runs a model in OpenVINO on the CPU, with local functions inlined, which OpenVINO refuses.

    Args:
        model: the graph.
        precision: OpenVINO's INFERENCE_PRECISION_HINT, `f32` or `bf16`.
    """
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    from eulernet_serving.openvino_runtime import openvino_core

    core = openvino_core()
    compiled = core.compile_model(core.read_model(inlined(model).SerializeToString()), "CPU", settings)
    names = [output.any_name for output in compiled.outputs]
    request = compiled.create_infer_request()

    def run(inputs: TensorMap) -> Tensors:
        request.infer(dict(inputs))
        return {name: np.array(request.get_tensor(name).data) for name in names}

    return run


def inlined(model: ModelProto) -> ModelProto:
    """The graph with function calls replaced by the functions' bodies."""
    flat: ModelProto = inliner.inline_local_functions(onnx.ModelProto.FromString(model.SerializeToString()))
    return flat


def check_runtimes(model: ModelProto, golden: TensorMap, label: str) -> float:
    """Runs the golden case in ONNX Runtime and OpenVINO, both in float32.

    Args:
        model: the graph.
        golden: its inputs and expected outputs by tensor name.
        label: the graph's name in errors.

    Returns:
        The largest difference.

    Raises:
        ParityError: an output differs.
    """
    inputs = {value.name: golden[value.name] for value in model.graph.input}
    expected = {value.name: golden[value.name] for value in model.graph.output}
    runners = {"ONNX Runtime": onnxruntime_runner(model), "OpenVINO": openvino_runner(model)}
    return max(compare(expected, run(inputs), f"{name}, {label}") for name, run in runners.items())
