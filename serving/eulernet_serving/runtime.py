# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU, any batch, with or without state tensors, in MNN or OpenVINO."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eulernet_serving.core_shares import network_threads
from eulernet_serving.cpu_precision import INT8, check_processor
from eulernet_serving.prepared_graph import MNN, OPENVINO, PreparedGraph, Tensor, find_prepared

OPENVINO_PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}
RUNTIMES = (MNN, *OPENVINO_PRECISIONS)


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

    def rows(self, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Infers several batches of one. Returns the outputs of each; none keeps another's memory alive."""


def make_runtime(path: Path, settings: RuntimeSettings) -> Runtime:
    """Loads an ONNX file: what was prepared from it, or else it is prepared now.

    Raises: ValueError for a runtime that does not exist, or an int8 graph on a processor or in a runtime that would
        compute other scores.
    """
    if settings.runtime not in RUNTIMES:
        raise ValueError(f"parameter runtime: {settings.runtime!r} is none of {', '.join(RUNTIMES)}")
    family = family_of(settings.runtime)
    prepared = find_prepared(path, family)
    if prepared is not None:
        return _load(prepared, settings)
    from eulernet_serving.graph_preparation import prepare

    with tempfile.TemporaryDirectory() as folder:
        return _load(prepare(path, family, Path(folder)), settings)


def family_of(runtime: str) -> str:
    """The runtime that a prepared graph is for."""
    return MNN if runtime == MNN else OPENVINO


def _load(prepared: PreparedGraph, settings: RuntimeSettings) -> Runtime:
    if prepared.precision == INT8:
        check_processor(INT8)
        if settings.runtime != "openvino":
            raise ValueError(f"parameter runtime: {settings.runtime!r} does not run int8 graphs; set openvino")
    threads = network_threads(settings.threads)
    if settings.runtime == MNN:
        from eulernet_serving.mnn_runtime import MnnRuntime

        return MnnRuntime(prepared, threads)
    from eulernet_serving.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(prepared, OPENVINO_PRECISIONS[settings.runtime], threads)
