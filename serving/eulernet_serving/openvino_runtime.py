# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX graph on the CPU through OpenVINO, any batch, with or without state tensors."""

import functools
import sys
from collections.abc import Mapping

import numpy as np
import onnx

from eulernet_serving.runtime import Tensor

# OpenVINO's import writes an identifier into ~/intel and reports usage; without this package it does neither.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402


@functools.cache
def openvino_core() -> openvino.Core:
    """One core for the process. Each core sets the thread's alternate signal stack; two cores destroyed in the order of
    their creation leave an unmapped one, and the next signal with a handler ends the process."""
    return openvino.Core()


class OpenVinoRuntime:
    """One graph with one inference request: for one thread at a time.

    Args:
        graph: without local functions, the first dimension of its inputs and outputs the batch.
        precision: f32, or bf16 where the processor has it.
        threads: of one inference, 0 for all cores.
    """

    def __init__(self, graph: onnx.ModelProto, precision: str, threads: int) -> None:
        core = openvino_core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", options)
        self._request = compiled.create_infer_request()
        # A port can have several names after OpenVINO's own changes to the graph: the ONNX file says which one counts.
        self._inputs = dict(zip((each.name for each in graph.graph.input), compiled.inputs, strict=True))
        self._outputs = dict(zip((each.name for each in graph.graph.output), compiled.outputs, strict=True))
        self.input_names = tuple(self._inputs)

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""
        port = self._inputs[name]
        sides = [side.get_length() for side in list(port.partial_shape)[1:]]
        return np.zeros([1, *sides], port.element_type.to_dtype())

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        feeds = {self._inputs[name]: value for name, value in inputs.items()}
        results = self._request.infer(feeds, share_inputs=True, share_outputs=False)
        return {name: results[port] for name, port in self._outputs.items()}
