# SPDX-License-Identifier: Apache-2.0
"""TensorRT plans without TensorRT: their names, their batch sizes, and the record beside each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from eulernet_core.whole_files import sha256_of

FEW = 8  # the largest batch of the profile that is tuned for single frames
RECORD_SUFFIX = ".json"
FUSED_GRAPH = "graph.onnx"  # beside plans: the graph that they were built from, attention modules as single nodes
RTX_BINDINGS = "tensorrt_rtx_bindings"  # Python module of TensorRT for RTX
RTX_PREFIX = "rtx"  # of the version of TensorRT for RTX, which TensorRT's own runtime and Triton can't load

# How far a plan's outputs may lie from the golden case, in units of a tensor's largest value where that is above 1.
# fp32: TensorRT sums in another order; TF32 is off. fp16: twice the difference of ONNX Runtime (0.0124); bfloat16 has
# eight times coarser steps. int8 is compared with ONNX Runtime's answers for the same graph; OpenVINO differs from them
# by 0.086: one step of the quantizer, multiplied by later layers. None of these was measured on a GPU.
TOLERANCES = {"fp32": 1e-4, "fp16": 2.5e-2, "bf16": 0.2, "int8": 0.2}


class PlanError(Exception):
    """A plan or its record can't be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Profile:
    """Batch sizes of one optimization profile: tactics are chosen for `best`, `least` to `most` can be run."""

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(
                f"profile {self.least}:{self.best}:{self.most}: least <= best <= most, from 1 on, is needed"
            )


def profiles(max_batch: int) -> tuple[Profile, ...]:
    """One profile tuned for single frames and one for full batches, together from 1 to `max_batch`.

    Triton takes, of the profiles that a batch fits, the one whose best batch is nearest.
    """
    if max_batch <= FEW:
        return (Profile(1, max_batch, max_batch),)
    return Profile(1, 1, FEW), Profile(1, max_batch, max_batch)


def architecture(capability: str) -> str:
    """Compute capability "9.0" to `sm90`, "12.0" to `sm120`."""
    return f"sm{capability.replace('.', '')}"


def plan_name(precision: str, capability: str, tensorrt: str) -> str:
    """`model.fp16.sm90.trt10.13.3.9.plan`, or `model.fp16.sm89.rtx1.7.1.116.plan` for `rtx1.7.1.116`.

    A plan runs only with this TensorRT on this kind of GPU.
    """
    product = "" if tensorrt.startswith(RTX_PREFIX) else "trt"
    return f"model.{precision}.{architecture(capability)}.{product}{tensorrt}.plan"


def widest_weight(graph: ModelProto) -> int:
    """The largest magnitude of the int8 weights; 0 without any."""
    constants = {each.name: each for each in graph.graph.initializer if each.data_type == onnx.TensorProto.INT8}
    weights = {node.input[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"} & set(constants)
    return max((int(np.abs(numpy_helper.to_array(constants[name]).astype(int)).max()) for name in weights), default=0)


def precision_of(graph: ModelProto) -> str:
    """`int8` if the graph quantizes, `fp16` or `bf16` if it casts to these types, else `fp32`."""
    casts = {
        attribute.i
        for node in graph.graph.node
        for attribute in node.attribute
        if node.op_type == "Cast" and attribute.name == "to"
    }
    types = casts | {initializer.data_type for initializer in graph.graph.initializer}
    if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
        return "int8"
    if onnx.TensorProto.FLOAT16 in types:
        return "fp16"
    return "bf16" if onnx.TensorProto.BFLOAT16 in types else "fp32"


def plugin_nodes(graph: ModelProto) -> list[NodeProto]:
    """The nodes that TensorRT's parser hands to a plugin."""
    return [node for node in graph.graph.node if any(each.name == "plugin_namespace" for each in node.attribute)]


def creators(nodes: Sequence[NodeProto]) -> set[tuple[str, str, str]]:
    """Name, version and namespace of the plugin creators that these nodes ask for."""
    asked = set()
    for node in nodes:
        text = {each.name: each.s.decode() for each in node.attribute if each.name.startswith("plugin_")}
        asked.add((node.op_type, text["plugin_version"], text["plugin_namespace"]))
    return asked


@dataclass(frozen=True)
class PlanRecord:
    """The record beside a plan, `<plan>.json`.

    `plugin`: `none`, `beside` (the library must be loaded before the plan) or `serialized` (it is inside);
    `difference`: the largest difference from the golden case, None for a plan that has not run: it was built for a GPU
    of another machine; `tensorrt`: the version, such as "10.13.3.9", or "rtx1.7.1.116" of TensorRT for RTX.
    """

    model: str
    plan_sha256: str
    graph_sha256: str
    parameters_sha256: str
    weights: str
    precision: str
    tensorrt: str
    capability: str
    gpu: str
    max_batch: int
    profiles: tuple[Profile, ...]
    plugin: str
    plugin_sha256: str
    difference: float | None
    build_s: float

    @property
    def for_rtx(self) -> bool:
        """Whether the plan needs the runtime of TensorRT for RTX."""
        return self.tensorrt.startswith(RTX_PREFIX)

    @property
    def file_name(self) -> str:
        """The plan's name."""
        return plan_name(self.precision, self.capability, self.tensorrt)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "PlanRecord":
        """Reads the text of `to_json`. Raises: PlanError naming `name` for any other text."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["profiles"] = tuple(Profile(**each) for each in values["profiles"])
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError) as error:
            raise PlanError(
                f"{name}: not the record of a plan ({error}); build the plan again with eulernet engine"
            ) from None


def read_record(plan: Path) -> PlanRecord:
    """The record beside a plan. Raises: PlanError if there is none, or it belongs to another plan."""
    path = plan.with_name(plan.name + RECORD_SUFFIX)
    if not path.is_file():
        raise PlanError(
            f"{plan}: {path.name} is not beside it; copy both, or build the plan again with eulernet engine"
        )
    record = PlanRecord.from_json(path.read_text(), str(path))
    if sha256_of(plan) != record.plan_sha256:
        raise PlanError(f"{plan}: {path.name} belongs to another plan; build it again with eulernet engine")
    return record


def graph_properties(graph: ModelProto) -> dict[str, str]:
    """The graph's properties, such as `weights` and `parameters_sha256`."""
    return {each.key: each.value for each in graph.metadata_props}
