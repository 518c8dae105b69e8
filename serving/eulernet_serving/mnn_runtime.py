# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX graph on the CPU through MNN, whose 3x3 convolutions use Winograd's minimal filtering (Lavin and Gray
2016): the network takes two thirds of its time in OpenVINO, at slightly larger rounding errors.

MNN fixes shapes when a session is made, so the rows of a batch are inferred one by one, by as many threads as there are
sessions; it releases Python's global lock meanwhile.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from eulernet_serving.runtime import Tensor


@contextmanager
def _standard_output_to(file: Path) -> Iterator[None]:
    """For all of the process, C's `printf` included: MNN prints, and standard output may be a protocol or a user's."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    kept = os.dup(1)
    with file.open("wb") as sink:
        os.dup2(sink.fileno(), 1)
    try:
        yield
    finally:
        flush(None)  # C's own buffer
        os.dup2(kept, 1)
        os.close(kept)


with _standard_output_to(Path(os.devnull)):
    import _tools  # the converter alone: MNN's command for it and the package MNN.tools report each use to a server
    import MNN

TYPES = {
    np.dtype(np.float32): MNN.Halide_Type_Float,
    np.dtype(np.int32): MNN.Halide_Type_Int,
    np.dtype(np.uint8): MNN.Halide_Type_Uint8,
}


class MnnRuntime:
    """One graph, for one calling thread at a time.

    Args:
        graph: without local functions, the first dimension of its inputs and outputs the batch.
        threads: that share the rows of a batch, 0 for all cores.
    Raises: RuntimeError where MNN can't read the graph.
    """

    def __init__(self, graph: onnx.ModelProto, threads: int) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        inputs, outputs = ([_row(value) for value in values] for values in (graph.graph.input, graph.graph.output))
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        self.input_names = tuple(self._inputs)
        with tempfile.TemporaryDirectory() as folder:
            model = _convert(graph, Path(folder))
            with _standard_output_to(Path(os.devnull)):
                self._sessions = [_Session(model) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""
        return np.zeros_like(self._inputs[name])

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        count = len(inputs[self.input_names[0]])
        outputs = {name: np.repeat(row, count, axis=0) for name, row in self._outputs.items()}

        rows = iter(range(count))

        def work(session: _Session) -> None:
            while (row := next(rows, None)) is not None:
                part = slice(row, row + 1)
                session({n: inputs[n][part] for n in self.input_names}, {n: v[part] for n, v in outputs.items()})

        list(self._pool.map(work, self._sessions))
        return outputs


class _Session:
    """A model with separate memory, for one thread."""

    def __init__(self, model: Path) -> None:
        self._interpreter = MNN.Interpreter(str(model))
        # Several threads of MNN's own would spin while they wait for each other, and the other stages need the cores.
        settings = {"numThread": 1, "backend": "CPU", "precision": "high"}
        self._session = self._interpreter.createSession(settings)
        self._inputs = self._interpreter.getSessionInputAll(self._session)
        self._outputs = self._interpreter.getSessionOutputAll(self._session)

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Infers one row; writes into `outputs`."""
        for name, value in inputs.items():
            self._inputs[name].copyFrom(_tensor(np.ascontiguousarray(value)))
        self._interpreter.runSession(self._session)
        for name, value in outputs.items():
            host = _tensor(value)
            self._outputs[name].copyToHostTensor(host)
            value[:] = host.getNumpyData().reshape(value.shape)


def _tensor(value: Tensor) -> MNN.Tensor:
    return MNN.Tensor(value.shape, TYPES[value.dtype], value, MNN.Tensor_DimensionType_Caffe)


def _row(value: onnx.ValueInfoProto) -> tuple[str, Tensor]:
    """Name and zeros of one row of an input or output."""
    tensor = value.type.tensor_type
    shape = [1, *(side.dim_value for side in tensor.shape.dim[1:])]
    return value.name, np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _convert(graph: onnx.ModelProto, folder: Path) -> Path:
    """Writes the graph, for batches of one, as an MNN model into `folder`."""
    fixed, model = folder / "model.onnx", folder / "model.mnn"
    single = onnx.ModelProto()
    single.CopyFrom(graph)
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(single, fixed)
    names = ["--framework", "ONNX", "--modelFile", str(fixed), "--MNNModel", str(model), "--bizCode", "eulernet"]
    said = folder / "said.txt"
    with _standard_output_to(said):
        _tools.mnnconvert(["mnnconvert", *names])
    if not model.is_file():
        raise RuntimeError(f"MNN can't convert the graph: {said.read_text().strip()}")
    return model
