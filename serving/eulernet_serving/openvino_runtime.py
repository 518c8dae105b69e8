# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU through OpenVINO, any batch, with or without state tensors."""

import functools
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from eulernet_serving.prepared_graph import PreparedGraph, Tensor

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
        prepared: for OpenVINO.
        precision: f32, or bf16 where the processor has it.
        threads: of one inference.
    """

    def __init__(self, prepared: PreparedGraph, precision: str, threads: int) -> None:
        core = openvino_core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = core.compile_model(core.read_model(prepared.file), "CPU", options)
        self._request = compiled.create_infer_request()
        # A port can have several names after OpenVINO's own changes to the graph: the ONNX file says which one counts.
        self._inputs = dict(zip(prepared.inputs, compiled.inputs, strict=True))
        self._outputs = dict(zip(prepared.outputs, compiled.outputs, strict=True))
        self.input_names = tuple(self._inputs)
        self._prepared = prepared

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""
        return self._prepared.inputs[name].zeros()

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        feeds = {self._inputs[name]: value for name, value in inputs.items()}
        results = self._request.infer(feeds, share_inputs=True, share_outputs=False)
        return {name: results[port] for name, port in self._outputs.items()}

    def rows(self, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Infers several batches of one as one batch. Returns the outputs of each, in separate memory."""
        results = self({name: np.concatenate([row[name] for row in rows]) for name in self.input_names})
        if len(rows) == 1:
            return [results]
        # Copies: a view would keep the whole batch alive for as long as one of its rows lives.
        return [{name: value[i : i + 1].copy() for name, value in results.items()} for i in range(len(rows))]
