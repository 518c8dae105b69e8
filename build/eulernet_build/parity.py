"""Does a graph say what PyTorch says? The golden case run through ONNX Runtime, OpenVINO and MNN and compared."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, inliner

from eulernet_build.repository import checkout, served_module

Tensors = dict[str, np.ndarray[Any, Any]]
TensorMap = Mapping[str, np.ndarray[Any, Any]]
Runner = Callable[[TensorMap], Tensors]

# Absolute, plus the same relative to the expected value: float32 sums of up to 1,152 terms in another order, layer
# after layer. Measured: 2e-6 at most.
TOLERANCE = 1e-5
# Winograd's transforms subtract what they have added. Measured: 4e-4 at most, of the filters' state.
MNN_TOLERANCE = 2e-3


class ParityError(RuntimeError):
    """A graph's outputs differ from the expected ones; the message names tensor, runtime and difference."""


def compare(expected: TensorMap, actual: TensorMap, who: str, tolerance: float = TOLERANCE) -> float:
    """Hold `actual` against `expected`.

    Integers must be equal, floats within `tolerance` of each other, in units of the expected tensor's largest value
    where that is above 1: what is summed up to a small value may have been large. A NaN on either side is an error.

    Returns:
        The largest difference, in these units.

    Raises:
        ParityError: a tensor is missing, has another shape or type, is not finite, or differs.
    """
    worst = 0.0
    for name, want in expected.items():
        if name not in actual:
            raise ParityError(f"{name} from {who}: missing; it gives {', '.join(actual)}")
        got = actual[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            raise ParityError(f"{name} from {who}: {got.dtype}{got.shape}, expected {want.dtype}{want.shape}")
        if not (np.isfinite(want).all() and np.isfinite(got).all()):
            raise ParityError(f"{name} from {who}: not finite (NaN or infinity) here or in the expected values")
        difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
        unit = max(1.0, float(np.abs(want).max(initial=0.0)))
        if (difference > (0.0 if want.dtype.kind in "iu" else tolerance * unit)).any():
            raise ParityError(
                f"{name} from {who}: differs by {difference.max():.3g} where {tolerance:g} is allowed; "
                "the graph does not compute what the network does"
            )
        worst = max(worst, float(difference.max(initial=0.0) / unit))
    return worst


def onnxruntime_runner(model: ModelProto) -> Runner:
    """Run a model in ONNX Runtime on the CPU; DIIRF runs as its function body."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: TensorMap) -> Tensors:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def openvino_runner(model: ModelProto, precision: str = "f32") -> Runner:
    """Run a model in OpenVINO on the CPU, which refuses local functions, so they are inlined first.

    Args:
        model: the graph.
        precision: OpenVINO's INFERENCE_PRECISION_HINT, `f32` or `bf16`.
    """
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core = openvino_core()
    compiled = core.compile_model(core.read_model(inlined(model).SerializeToString()), "CPU", settings)
    names = [output.any_name for output in compiled.outputs]
    request = compiled.create_infer_request()

    def run(inputs: TensorMap) -> Tensors:
        request.infer(dict(inputs))
        return {name: np.array(request.get_tensor(name).data) for name in names}

    return run


def mnn_runner(model: ModelProto) -> Runner:
    """Run a model in MNN, by the module that the embedded server runs it with."""
    module = served_module(checkout() / "model_repository" / "eulernet" / "1" / "mnn_engine.py")
    engine: Runner = module.MNNEngine(inlined(model), 1)
    return engine


@functools.cache
def openvino_core() -> Any:
    """OpenVINO, once for the process. Each Core gives its thread another stack for signals and, when it goes, the one
    from before; of two that go in the order in which they came, the second leaves one that is gone, and the next signal
    with a handler ends the process."""
    import openvino

    return openvino.Core()


def inlined(model: ModelProto) -> ModelProto:
    """The same graph with the bodies of its functions in place of their calls."""
    flat: ModelProto = inliner.inline_local_functions(onnx.ModelProto.FromString(model.SerializeToString()))
    return flat


def check_runtimes(model: ModelProto, golden: TensorMap, label: str) -> float:
    """Run the golden case in ONNX Runtime, OpenVINO and MNN, all in float32.

    Args:
        model: the graph.
        golden: its inputs and expected outputs under their tensor names.
        label: what the graph is called in an error.

    Returns:
        The largest difference in the first two, which compute as PyTorch does.

    Raises:
        ParityError: an output differs.
    """
    inputs = {value.name: golden[value.name] for value in model.graph.input}
    expected = {value.name: golden[value.name] for value in model.graph.output}
    runners = {"ONNX Runtime": onnxruntime_runner(model), "OpenVINO": openvino_runner(model)}
    worst = max(compare(expected, run(inputs), f"{name}, {label}") for name, run in runners.items())
    compare(expected, mnn_runner(model)(inputs), f"MNN, {label}", MNN_TOLERANCE)
    return worst
