# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU through OpenVINO."""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eulernet_core.whole_files import write_whole
from eulernet_serving.cpu_precision import processor_features
from eulernet_serving.prepared_graph import COMPILED_SUFFIX, STEM, PixelPart, PreparedGraph, Tensor
from eulernet_serving.row_runtime import RowRuntime

if TYPE_CHECKING:
    from eulernet_serving.stem_input import StemInput

# OpenVINO's import writes an identifier into ~/intel and reports usage; without these packages it does neither, and it
# takes half of the time and 5 MB less. The second one is its converter of other frameworks' models.
for _unused in ("openvino_telemetry", "openvino.tools.ovc"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]
import openvino  # noqa: E402

COMPILED_PRECISION = "f32"
_LOG = logging.getLogger(__name__)


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
    compiled = _imported(prepared, precision, threads) or _compiled(prepared.file, precision, threads)
    runtime = RowRuntime(prepared, [_Session(compiled, prepared) for _ in range(threads)])
    ctypes.CDLL(None).malloc_trim(0)  # gives back what only the compilation needed
    return runtime


def write_compiled(file: Path) -> str:
    """Compiles a model written by `write_model` and writes the result beside it, which loads in a quarter of the time.

    Returns: for which processors and release it is; see `compiled_for`.
    """
    compiled = _compiled(file, COMPILED_PRECISION, threads=1)
    blob = io.BytesIO()
    compiled.export_model(blob)
    write_whole(file.with_suffix(COMPILED_SUFFIX), blob.getvalue())
    return compiled_for()


def compiled_for() -> str:
    """OpenVINO's release and this processor's features: what a compiled model depends on."""
    features = sorted(name for name in processor_features() if name.startswith(("avx", "amx", "fma", "sse4")))
    return " ".join([str(openvino.get_version()), *features])


def _imported(prepared: PreparedGraph, precision: str, threads: int) -> openvino.CompiledModel | None:
    """The model as it was compiled before; None where that was elsewhere, or in another precision."""
    blob = prepared.file.with_suffix(COMPILED_SUFFIX)
    if precision != COMPILED_PRECISION or prepared.compiled_for != compiled_for() or not blob.is_file():
        return None
    try:
        return openvino_core().import_model(blob.read_bytes(), "CPU", _options(precision, threads))
    except RuntimeError as error:
        _LOG.warning("%s can't be loaded, the network is compiled anew: %s", blob, error)
        return None


def _compiled(file: Path, precision: str, threads: int) -> openvino.CompiledModel:
    core = openvino_core()
    return core.compile_model(core.read_model(file), "CPU", _options(precision, threads))


def _options(precision: str, threads: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        # Otherwise OpenVINO pins threads to cores, and those of two graphs or processes to the same one.
        "ENABLE_CPU_PINNING": False,
    }


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


def _stem_input(part: PixelPart) -> StemInput:
    from eulernet_serving.stem_input import StemInput  # the face detector needs no OpenCV

    return StemInput(part)


class _Session:
    """An inference request, for one thread. Its tensors are bound once: binding them anew takes longer than a copy."""

    def __init__(self, compiled: openvino.CompiledModel, prepared: PreparedGraph) -> None:
        self._stem = None if prepared.pixels is None else _stem_input(prepared.pixels)
        self._request = compiled.create_infer_request()
        # A port can have several names after OpenVINO's own changes to the graph: the ONNX file says which one counts.
        self._fed = {name: prepared.inputs[name].zeros() for name in prepared.fed if name != STEM}
        self._given = {name: prepared.outputs[name].zeros() for name in prepared.given}
        stem = {} if self._stem is None else {STEM: self._stem.value}
        fed = {**self._fed, **stem}
        for port, name in zip(compiled.inputs, prepared.fed, strict=True):
            self._request.set_tensor(port, openvino.Tensor(fed[name], shared_memory=True))
        for port, name in zip(compiled.outputs, prepared.given, strict=True):
            self._request.set_tensor(port, openvino.Tensor(self._given[name], shared_memory=True))

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Infers one row; writes into `outputs`."""
        if self._stem is not None:
            self._stem.fill(inputs, outputs)
        for name, value in self._fed.items():
            np.copyto(value, inputs[name])
        self._request.infer(share_outputs=True)
        for name, value in self._given.items():
            np.copyto(outputs[name], value)
