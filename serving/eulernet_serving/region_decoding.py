# SPDX-License-Identifier: Apache-2.0
"""Decodes regions of JPEGs on a CPU, by DALI's compiled module alone.

The package `nvidia.dali` makes Python functions for hundreds of operators when it is imported: 0.2 s and 13 MB in each
stage, and a call of one picture takes 0.1 ms longer through it. The compiled module is not documented, so
pyproject.toml bounds DALI's version.
"""

import functools
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import nvidia
from numpy.typing import NDArray

_PACKAGE = "nvidia.dali"


@functools.cache
def _compiled() -> Any:
    """DALI's compiled module, with or without its package; the package can be imported later."""
    package = sys.modules.get(_PACKAGE)
    if package is None:
        package = ModuleType(_PACKAGE)
        package.__path__ = [f"{folder}/dali" for folder in nvidia.__path__]
        sys.modules[_PACKAGE] = package
        try:
            module = importlib.import_module(f"{_PACKAGE}.backend_impl")
        finally:
            del sys.modules[_PACKAGE]
        # As the package does: the allocators that are used without a GPU, too.
        module.Init(*(module.OpSpec(name) for name in ("CPUAllocator", "PinnedCPUAllocator", "GPUAllocator")))
        return module
    return importlib.import_module(f"{_PACKAGE}.backend_impl")


class RegionDecoder:
    """A pipeline of DALI. After an exception it can't be used any more.

    Args:
        batch_size: the most pictures of a call.
        threads: that decode.
    """

    def __init__(self, batch_size: int, threads: int) -> None:
        dali = self._dali = _compiled()
        data, colour = dali.types.DALIDataType, dali.types.DALIImageType
        parameters = dali._PipelineParams(
            max_batch_size=batch_size,
            num_threads=threads,
            executor_type=dali._ExecutorType.Simple,
            prefetch_queue_depths=(1, 1),
        )
        self._pipeline = dali.Pipeline(parameters)
        self._add("ExternalSource", "ENCODED", {"dtype": data.UINT8, "ndim": 1})
        self._add("ExternalSource", "START", {"dtype": data.INT32, "ndim": 1})
        self._add("ExternalSource", "END", {"dtype": data.INT32, "ndim": 1})
        arguments = {"axis_names": "WH", "output_type": colour.RGB}
        self._add("decoders__ImageSlice", "REGION", arguments, "ENCODED", start="START", end="END")
        self._pipeline.Build([("REGION", "cpu", data.UINT8, 3, "")])

    def _add(self, operator: str, output: str, arguments: dict[str, Any], *inputs: str, **of_arguments: str) -> None:
        spec = self._dali.OpSpec(operator)
        for name, value in {"device": "cpu", **arguments}.items():
            spec.AddArg(name, value)
        for name in inputs:
            spec.AddInput(name, "cpu")
        for argument, name in of_arguments.items():
            spec.AddArgumentInput(argument, name)
        spec.AddOutput(output, "cpu")
        self._pipeline.AddOperator(spec, output)

    def __call__(
        self, encoded: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.uint8]]:
        """Decodes one batch.

        Args:
            encoded: uint8 (bytes,) each, one JPEG.
            boxes: int32 (4,) each, x0, y0, x1, y1 px inside the upright picture.
        Returns: uint8 (h, w, 3) each, RGB, upright (EXIF); valid until the next call.
        Raises: RuntimeError where one of them can't be decoded, without its number.
        """
        tensor = self._dali.TensorCPU
        corners = {"START": [box[:2] for box in boxes], "END": [box[2:] for box in boxes]}
        for name, arrays in {"ENCODED": encoded, **corners}.items():
            self._pipeline.SetExternalTensorInput(name, [tensor(array, "") for array in arrays])
        self._pipeline.ReleaseOutputs()  # the batch before: the only place for one
        self._pipeline.Run()
        (regions,) = self._pipeline.ShareOutputs()
        return [np.asarray(regions[i]) for i in range(len(encoded))]
