# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX graph on the CPU, any batch, with or without state tensors, in MNN or OpenVINO.

Neither accepts model-local functions, so the body of `eulernet::DIIRF` (standard operators) replaces its node first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray

from eulernet_serving.cpu_precision import INT8, check_processor
from eulernet_serving.plan_records import precision_of

Tensor = NDArray[np.generic]
OPENVINO_PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}
RUNTIMES = ("mnn", *OPENVINO_PRECISIONS)


@dataclass(frozen=True)
class RuntimeSettings:
    """`runtime`: mnn or openvino, both in float32, or openvino-bf16, for processors that have it; `threads`: of one
    inference (openvino), or that share a batch's rows (mnn), 0 for all cores."""

    runtime: str = "openvino"
    threads: int = 0


class Runtime(Protocol):
    """One graph, for one calling thread at a time. `input_names`: as the graph has them."""

    input_names: tuple[str, ...]

    def zeros(self, name: str) -> Tensor:
        """An input's value before anything was seen, for a batch of one."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Infers one batch. Returns the outputs by name; they are the caller's own."""


def make_runtime(path: Path, settings: RuntimeSettings) -> Runtime:
    """Loads an ONNX file.

    Raises: ValueError for a runtime that does not exist, or an int8 graph on a processor or in a runtime that would
        compute other scores.
    """
    if settings.runtime not in RUNTIMES:
        raise ValueError(f"parameter runtime: {settings.runtime!r} is none of {', '.join(RUNTIMES)}")
    graph = onnx.inliner.inline_local_functions(onnx.load(path))
    if precision_of(graph) == INT8:
        check_processor(INT8)
        if settings.runtime != "openvino":
            raise ValueError(f"parameter runtime: {settings.runtime!r} does not run int8 graphs; set openvino")
    if settings.runtime == "mnn":
        from eulernet_serving.mnn_runtime import MnnRuntime

        return MnnRuntime(graph, settings.threads)
    from eulernet_serving.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(graph, OPENVINO_PRECISIONS[settings.runtime], settings.threads)
