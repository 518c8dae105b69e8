# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU through OpenVINO."""

import ctypes
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eulernet_serving.prepared_graph import PreparedGraph, Tensor
from eulernet_serving.row_runtime import RowRuntime

# OpenVINO's import writes an identifier into ~/intel and reports usage; without these packages it does neither, and it
# takes half of the time and 5 MB less. The second one is its converter of other frameworks' models.
for _unused in ("openvino_telemetry", "openvino.tools.ovc"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]
import openvino  # noqa: E402


@functools.cache
def openvino_core() -> openvino.Core:
    """One core for the process. Each core sets the thread's alternate signal stack; two cores destroyed in the order of
    their creation leave an unmapped one, and the next signal with a handler ends the process."""
    return openvino.Core()


def openvino_runtime(prepared: PreparedGraph, precision: str, threads: int) -> RowRuntime:
    """Loads a graph that was prepared for OpenVINO.

    Args:
        prepared: for OpenVINO.
        precision: f32, or bf16 where the processor has it.
        threads: that share the rows of a batch.
    """
    core = openvino_core()
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        # Otherwise OpenVINO pins threads to cores, and those of two graphs or processes to the same one.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(prepared.file), "CPU", options)
    runtime = RowRuntime(prepared, [_Session(compiled, prepared) for _ in range(threads)])
    ctypes.CDLL(None).malloc_trim(0)  # gives back what only the compilation needed
    return runtime


def write_model(graph: bytes, shapes: Sequence[Sequence[int]], file: Path) -> None:
    """Writes an ONNX graph in OpenVINO's own format, for batches of one: known shapes take a quarter off its time.

    Args:
        graph: without model-local functions.
        shapes: of one row of each input, in the graph's order.
        file: ends in .xml; the weights are written to a .bin beside it.
    Raises: RuntimeError where OpenVINO can't read the graph.
    """
    model = openvino_core().read_model(graph)
    single = (openvino.PartialShape([1, *shape]) for shape in shapes)
    model.reshape(dict(zip(model.inputs, single, strict=True)))
    openvino.save_model(model, file, compress_to_fp16=False)


class _Session:
    """An inference request, for one thread."""

    def __init__(self, compiled: openvino.CompiledModel, prepared: PreparedGraph) -> None:
        # A port can have several names after OpenVINO's own changes to the graph: the ONNX file says which one counts.
        self._inputs = dict(zip(prepared.inputs, compiled.inputs, strict=True))
        self._outputs = dict(zip(prepared.outputs, compiled.outputs, strict=True))
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Infers one row; writes into `outputs`."""
        feeds = {port: inputs[name] for name, port in self._inputs.items()}
        results = self._request.infer(feeds, share_inputs=True, share_outputs=True)
        for name, value in outputs.items():
            np.copyto(value, results[self._outputs[name]])
