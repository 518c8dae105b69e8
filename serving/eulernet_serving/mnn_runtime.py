# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU through MNN, whose 3x3 convolutions use Winograd's minimal filtering (Lavin and Gray
2016): the network takes two thirds of its time in OpenVINO, at slightly larger rounding errors.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eulernet_serving.prepared_graph import PreparedGraph, Tensor
from eulernet_serving.row_runtime import RowRuntime
from eulernet_serving.standard_output import standard_output_to

with standard_output_to(None):  # it prints what the processor has
    import MNN

TYPES = {
    np.dtype(np.float32): MNN.Halide_Type_Float,
    np.dtype(np.int32): MNN.Halide_Type_Int,
    np.dtype(np.uint8): MNN.Halide_Type_Uint8,
}


def mnn_runtime(prepared: PreparedGraph, threads: int) -> RowRuntime:
    """Loads a graph that was prepared for MNN.

    Args:
        prepared: for MNN.
        threads: that share the rows of a batch.
    Raises: RuntimeError where MNN can't read the file.
    """
    with standard_output_to(None):
        return RowRuntime(prepared, [_Session(prepared.file) for _ in range(threads)])


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
