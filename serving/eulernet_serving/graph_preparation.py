# SPDX-License-Identifier: Apache-2.0
"""Brings an ONNX graph into the form that MNN or OpenVINO loads.

Neither accepts model-local functions, so the body of `eulernet::DIIRF` (standard operators) replaces its node first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.inliner

from eulernet_core.whole_files import sha256_of
from eulernet_serving.plan_records import precision_of
from eulernet_serving.prepared_graph import MNN, PreparedGraph, TensorSpec, prepared_file
from eulernet_serving.standard_output import standard_output_to


def prepare(graph: Path, runtime: str, folder: Path | None = None) -> PreparedGraph:
    """Writes the prepared form of an ONNX file, and its record, into `folder`: beside the file by default.

    Raises: RuntimeError where MNN can't convert the graph.
    """
    file = prepared_file(graph if folder is None else folder / graph.name, runtime)
    prepared = prepare_model(onnx.load(graph), runtime, file, sha256_of(graph))
    prepared.write_record()
    return prepared


def prepare_model(model: onnx.ModelProto, runtime: str, file: Path, source_sha256: str = "") -> PreparedGraph:
    """Writes the prepared form of a model to `file`. Raises: RuntimeError where MNN can't convert it."""
    flat = onnx.inliner.inline_local_functions(model)
    if runtime == MNN:
        _convert_to_mnn(flat, file)
    else:
        onnx.save(flat, file)
    inputs, outputs = _specs(flat.graph.input), _specs(flat.graph.output)
    return PreparedGraph(file, runtime, source_sha256, precision_of(flat), inputs, outputs)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
    kinds = {value.name: value.type.tensor_type for value in values}
    return {
        name: TensorSpec(
            onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
            tuple(side.dim_value for side in kind.shape.dim[1:]),
        )
        for name, kind in kinds.items()
    }


def _convert_to_mnn(flat: onnx.ModelProto, file: Path) -> None:
    """MNN fixes shapes when a session is made: the model is for batches of one."""
    with standard_output_to(None):
        import _tools  # the converter alone: MNN's command for it and the package MNN.tools report each use to a server

    fixed, said = file.with_name(f"{file.name}.fixed.onnx"), file.with_name(f"{file.name}.said.txt")
    single = onnx.ModelProto()
    single.CopyFrom(flat)
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(single, fixed)
    names = ["--framework", "ONNX", "--modelFile", str(fixed), "--MNNModel", str(file), "--bizCode", "eulernet"]
    try:
        with standard_output_to(said):
            _tools.mnnconvert(["mnnconvert", *names])
        if not file.is_file():
            raise RuntimeError(f"MNN can't convert the graph: {said.read_text().strip()}")
    finally:
        fixed.unlink(missing_ok=True)
        said.unlink(missing_ok=True)
