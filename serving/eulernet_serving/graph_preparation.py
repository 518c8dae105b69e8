# SPDX-License-Identifier: Apache-2.0
"""Brings an ONNX graph into the form that OpenVINO loads, its own, rewritten, with the shapes of a batch of one.

OpenVINO refuses model-local functions, so the body of `eulernet::DIIRF` (standard operators) replaces its node.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx.inliner

from eulernet_core.whole_files import sha256_of
from eulernet_serving.cpu_graph import for_cpu
from eulernet_serving.openvino_runtime import write_compiled, write_model
from eulernet_serving.plan_records import precision_of, widest_weight
from eulernet_serving.prepared_graph import PreparedGraph, TensorSpec, prepared_file


def prepare(graph: Path, folder: Path | None = None) -> PreparedGraph:
    """Writes the prepared form of an ONNX file, and its record, into `folder`; by default beside the file, compiled."""
    flat = onnx.inliner.inline_local_functions(onnx.load(graph))
    file = prepared_file(graph if folder is None else folder / graph.name)
    rewritten, pixels = for_cpu(flat)
    fed = _specs(rewritten.graph.input)
    write_model(rewritten.SerializeToString(), [spec.shape for spec in fed.values()], file)
    prepared = PreparedGraph(
        file=file,
        source_sha256=sha256_of(graph),
        precision=precision_of(flat),
        widest_weight=widest_weight(flat),
        inputs=_specs(flat.graph.input),
        outputs=_specs(flat.graph.output),
        fed=tuple(fed),
        given=tuple(value.name for value in rewritten.graph.output),
        pixels=pixels,
        compiled_for=write_compiled(file) if folder is None else "",
    )
    prepared.write_record()
    return prepared


def _specs(values: Iterable[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
    kinds = {value.name: value.type.tensor_type for value in values}
    return {
        name: TensorSpec(
            onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
            tuple(side.dim_value for side in kind.shape.dim[1:]),
        )
        for name, kind in kinds.items()
    }
