# SPDX-License-Identifier: Apache-2.0
"""Runs a graph on the CPU, any batch, with or without state tensors, in OpenVINO."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from eulernet_serving.core_shares import network_threads
from eulernet_serving.cpu_precision import INT8, check_int8
from eulernet_serving.prepared_graph import PreparedGraph, find_prepared
from eulernet_serving.row_runtime import RowRuntime

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}


@dataclass(frozen=True)
class RuntimeSettings:
    """`runtime`: openvino, in the graph's precision, or openvino-bf16, for processors that have it; `threads`: that
    share a batch's rows, 0 for all cores."""

    runtime: str = "openvino"
    threads: int = 0


def make_runtime(path: Path, settings: RuntimeSettings) -> RowRuntime:
    """Loads an ONNX file: what was prepared from it, or else it is prepared now.

    Raises: ValueError for a runtime that does not exist, or an int8 graph on a processor or in a runtime that would
        compute other scores.
    """
    if settings.runtime not in PRECISIONS:
        raise ValueError(f"parameter runtime: {settings.runtime!r} is none of {', '.join(PRECISIONS)}")
    prepared = find_prepared(path)
    if prepared is not None:
        return _load(prepared, settings)
    from eulernet_serving.graph_preparation import prepare

    with tempfile.TemporaryDirectory() as folder:
        return _load(prepare(path, Path(folder)), settings)


def _load(prepared: PreparedGraph, settings: RuntimeSettings) -> RowRuntime:
    if prepared.precision == INT8:
        check_int8(prepared.widest_weight)
        if settings.runtime != "openvino":
            raise ValueError(f"parameter runtime: {settings.runtime!r} does not run int8 graphs; set openvino")
    threads = network_threads(settings.threads)
    from eulernet_serving.openvino_runtime import openvino_runtime

    return openvino_runtime(prepared, PRECISIONS[settings.runtime], threads)
