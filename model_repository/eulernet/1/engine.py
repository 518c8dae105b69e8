"""Runs an ONNX graph on the CPU through OpenVINO, any batch, with or without state tensors.

OpenVINO takes no model-local functions, so `eulernet::DIIRF` is replaced by its own body of standard operators first.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import openvino
from numpy.typing import NDArray

PRECISIONS = ("f32", "bf16")


@functools.cache
def openvino_core() -> openvino.Core:
    """Once for the process: of two that end in the order in which they began, the second leaves its thread a stack for
    signals that is gone, and the next signal with a handler ends the process."""
    return openvino.Core()


@dataclass(frozen=True)
class EngineSettings:
    """`precision`: f32, or bf16 where the processor has it; `threads`: of one inference, 0 for all cores."""

    precision: str = "f32"
    threads: int = 0


class Engine:
    """One compiled graph with one inference request: for one thread at a time."""

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        if settings.precision not in PRECISIONS:
            raise ValueError(f"parameter precision: {settings.precision!r} is none of {', '.join(PRECISIONS)}")
        graph = onnx.inliner.inline_local_functions(onnx.load(path))
        core = openvino_core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": settings.precision,
            "INFERENCE_NUM_THREADS": settings.threads,
        }
        compiled = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", options)
        self._request = compiled.create_infer_request()
        # A port can have several names after OpenVINO's own changes to the graph: the ONNX file says which one counts.
        self._inputs = dict(zip((each.name for each in graph.graph.input), compiled.inputs, strict=True))
        self._outputs = dict(zip((each.name for each in graph.graph.output), compiled.outputs, strict=True))
        self.input_names = tuple(self._inputs)

    def zeros(self, name: str) -> NDArray:
        """An input's value before anything was seen, for a batch of one."""
        port = self._inputs[name]
        sides = [side.get_length() for side in list(port.partial_shape)[1:]]
        return np.zeros([1, *sides], port.element_type.to_dtype())

    def __call__(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        feeds = {self._inputs[name]: value for name, value in inputs.items()}
        results = self._request.infer(feeds, share_inputs=True, share_outputs=False)
        return {name: results[port] for name, port in self._outputs.items()}
