# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU through MNN, whose 3x3 convolutions use Winograd's minimal filtering (Lavin and Gray
2016): the network takes two thirds of its time in OpenVINO, at slightly larger rounding errors.

MNN fixes shapes when a session is made, so the rows of a batch are inferred one by one, by as many threads as there are
sessions; it releases Python's global lock meanwhile.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from eulernet_serving.prepared_graph import PreparedGraph, Tensor
from eulernet_serving.standard_output import standard_output_to

with standard_output_to(None):  # it prints what the processor has
    import MNN

TYPES = {
    np.dtype(np.float32): MNN.Halide_Type_Float,
    np.dtype(np.int32): MNN.Halide_Type_Int,
    np.dtype(np.uint8): MNN.Halide_Type_Uint8,
}


class MnnRuntime:
    """One graph, for one calling thread at a time.

    Args:
        prepared: for MNN.
        threads: that share the rows of a batch.
    Raises: RuntimeError where MNN can't read the file.
    """

    def __init__(self, prepared: PreparedGraph, threads: int) -> None:
        self._prepared = prepared
        self.input_names = tuple(prepared.inputs)
        with standard_output_to(None):
            self._sessions = [_Session(prepared.file) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""
        return self._prepared.inputs[name].zeros()

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""
        count = len(inputs[self.input_names[0]])
        outputs = {name: spec.zeros(count) for name, spec in self._prepared.outputs.items()}
        parts = [slice(row, row + 1) for row in range(count)]
        self._infer(
            [{name: inputs[name][part] for name in self.input_names} for part in parts],
            [{name: value[part] for name, value in outputs.items()} for part in parts],
        )
        return outputs

    def rows(self, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Infers several batches of one. Returns the outputs of each, in separate memory."""
        outputs = [{name: spec.zeros() for name, spec in self._prepared.outputs.items()} for _ in rows]
        self._infer(rows, outputs)
        return outputs

    def _infer(self, inputs: Sequence[Mapping[str, Tensor]], outputs: Sequence[Mapping[str, Tensor]]) -> None:
        waiting = iter(zip(inputs, outputs, strict=True))

        def work(session: _Session) -> None:
            while (row := next(waiting, None)) is not None:
                session(*row)

        list(self._pool.map(work, self._sessions[: len(inputs)]))


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
        for name, tensor in self._inputs.items():
            tensor.copyFrom(_tensor(np.ascontiguousarray(inputs[name])))
        self._interpreter.runSession(self._session)
        for name, value in outputs.items():
            host = _tensor(value)
            self._outputs[name].copyToHostTensor(host)
            value[:] = host.getNumpyData().reshape(value.shape)


def _tensor(value: Tensor) -> MNN.Tensor:
    return MNN.Tensor(value.shape, TYPES[value.dtype], value, MNN.Tensor_DimensionType_Caffe)
