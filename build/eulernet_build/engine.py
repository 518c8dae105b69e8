# SPDX-License-Identifier: Apache-2.0
"""Builds TensorRT plans of a graph.

TensorRT builds for this machine's GPU, and a plan is kept if it passes the golden case. TensorRT for RTX builds for any
GeForce or RTX card on any machine, and such a plan is checked without running it. A plan runs only on the GPU
architecture and with the version that built it, so its name contains both.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto

from eulernet_build.gpu import Gpu, NoGpuError, find_gpu
from eulernet_build.parity import Runner, TensorMap, Tensors, compare, onnxruntime_runner
from eulernet_build.rtx_plan_order import CAPABILITIES, REQUIREMENTS, Order, build_rtx_plan, find_packages
from eulernet_core.tensors import FACE
from eulernet_core.whole_files import sha256_of, write_whole, write_whole_text
from eulernet_serving.plan_records import (
    RECORD_SUFFIX,
    RTX_PREFIX,
    TOLERANCES,
    PlanRecord,
    Profile,
    architecture,
    creators,
    graph_properties,
    plugin_nodes,
    precision_of,
    profiles,
)

if TYPE_CHECKING:
    import tensorrt as trt

    from eulernet_build.tensorrt_api import BuildSettings

OLDEST = (10, 13)  # plugins/diirf/build.py needs the same version
PLUGIN_LIBRARY = Path("out/plugins/libeulernet_plugins.so")  # in the clone
CONTAINER = "nvcr.io/nvidia/tensorrt"
TENSORRT, TENSORRT_RTX = BUILDERS = ("tensorrt", "tensorrt-rtx")


class EngineError(Exception):
    """No plan was built; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class GoldenCase:
    """Inputs and expected outputs of a graph, by tensor name, with any number of rows."""

    inputs: TensorMap
    outputs: TensorMap


@dataclass(frozen=True)
class Request:
    """One plan to build.

    Attributes:
        model: the served model.
        graph: ONNX file.
        max_batch: largest batch of the plan.
        golden: the plan must reproduce it.
        plugin: the plugin library; None computes the filters with the graph's function bodies.
        inside: serialize the library into the plan.
    """

    model: str
    graph: Path
    max_batch: int
    golden: GoldenCase
    plugin: Path | None = None
    inside: bool = False


def choose_builder(asked: str | None = None) -> str:
    """The builder to use: `asked`, else TensorRT if it is installed, else TensorRT for RTX. Raises: EngineError."""
    if asked == TENSORRT or (asked is None and find_spec("tensorrt")):
        return TENSORRT
    if find_packages():
        return TENSORRT_RTX
    rtx = f"pip install --no-deps {' '.join(REQUIREMENTS)}"
    if asked == TENSORRT_RTX:
        raise EngineError(f"TensorRT for RTX is not installed: {rtx}")
    raise EngineError(
        f"no TensorRT is installed: run this in the container {CONTAINER} of the serving release (docs/gpu.md); "
        f"for GeForce and RTX cards, {rtx}"
    )


def choose_targets(builder: str, asked: Sequence[str]) -> tuple[str, ...]:
    """Compute capabilities to build for, such as "8.9": `asked`, by default this machine's GPU. Raises: EngineError."""
    try:
        own = find_gpu().capability
    except NoGpuError as error:
        if builder == TENSORRT or not asked:
            hint = "" if builder == TENSORRT else "; or name the cards with --target"
            raise EngineError(f"{error}{hint}") from None
        own = ""
    targets = tuple(dict.fromkeys(asked)) or (own,)
    supported = (own,) if builder == TENSORRT else CAPABILITIES
    if wrong := [each for each in targets if each not in supported]:
        raise EngineError(f"{builder} builds no plan for {', '.join(wrong)} here, only for {', '.join(supported)}")
    return targets


def require() -> Gpu:
    """This machine's GPU. Raises: EngineError without a GPU, or without TensorRT 10.13 or newer and polygraphy."""
    try:
        gpu = find_gpu()
    except NoGpuError as error:
        raise EngineError(str(error)) from None
    for module, remedy in (
        ("tensorrt", f"run this in the container {CONTAINER} of the serving release (docs/gpu.md)"),
        ("polygraphy", "pip install -c constraints.txt -e '.[gpu]'"),
    ):
        if find_spec(module) is None:
            raise EngineError(f"{module} is not installed: {remedy}")
    import tensorrt

    check_version(tensorrt.__version__)
    return gpu


def check_version(version: str) -> None:
    """Raises: EngineError if TensorRT is older than 10.13."""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EngineError(
            f"TensorRT {version} is older than {oldest}; use a newer release of the container {CONTAINER}"
        )


def build_engine(request: Request, out: Path, settings: "BuildSettings") -> tuple[Path, PlanRecord]:
    """Builds a plan, compares it with the golden case, and writes it with its record into `out`.

    Args:
        request: the plan.
        out: the folder, also of the timing cache.
        settings: for TensorRT's builder.
    Returns: the plan's path and its record.
    Raises: EngineError, BuildError; ParityError if the plan's outputs differ from the network's.
    """
    gpu = require()
    from eulernet_build import tensorrt_api

    graph = onnx.load(request.graph)
    precision = precision_of(graph)
    nodes = plugin_nodes(graph) if request.plugin else []
    library = request.plugin if nodes else None
    version = tensorrt_api.version()
    cache = out / f"timing.{architecture(gpu.capability)}.trt{version}.cache"
    builder = tensorrt_api.PlanBuilder(settings, cache)
    if library:
        builder.load_plugins(library, creators(nodes))
    wanted = profiles(request.max_batch)
    started_s = time.monotonic()
    inside = [library] if library and request.inside else []
    plan = builder.build(request.graph.read_bytes(), wanted, len(nodes), inside)
    built_s = time.monotonic() - started_s
    engine = tensorrt_api.load_plan(plan, builder.logger, library, request.inside)
    runners = ((profile, polygraphy_runner(engine, i)) for i, profile in enumerate(wanted))
    difference = check_plan(runners, request.golden, TOLERANCES[precision], f"{request.model}, {precision}")
    record = _record(request, graph, library, version, gpu.capability, gpu.name, difference, built_s)
    return write_plan(plan, record, out)


def build_rtx_engine(
    request: Request, capability: str, out: Path, level: int, tf32: bool = False
) -> tuple[Path, PlanRecord]:
    """Builds a plan with TensorRT for RTX and writes it with its record into `out`. Does not run it.

    Args:
        request: the plan; its golden case is not used.
        capability: of the GPU, one of `CAPABILITIES`.
        out: the folder.
        level: effort of the search for tactics, 0 to 5.
        tf32: float32 layers multiply with 10-bit mantissas.
    Returns: the plan's path and its record.
    Raises: RtxError.
    """
    graph = onnx.load(request.graph)
    nodes = plugin_nodes(graph) if request.plugin else []
    library = request.plugin if nodes else None
    wanted = profiles(request.max_batch)
    started_s = time.monotonic()
    built = build_rtx_plan(
        Order(
            graph=request.graph,
            capability=capability,
            profiles=wanted,
            plugins=len(nodes),
            library=library,
            creators=tuple(sorted(creators(nodes))),
            inside=request.inside,
            level=level,
            tf32=tf32,
        )
    )
    version, gpu = f"{RTX_PREFIX}{built.version}", f"any of compute capability {capability}"
    record = _record(request, graph, library, version, capability, gpu, None, time.monotonic() - started_s)
    return write_plan(built.plan, record, out)


def _record(
    request: Request,
    graph: onnx.ModelProto,
    library: Path | None,
    version: str,
    capability: str,
    gpu: str,
    difference: float | None,
    built_s: float,
) -> PlanRecord:
    """The record of a plan, without the plan's sum."""
    properties = graph_properties(graph)
    return PlanRecord(
        model=request.model,
        plan_sha256="",  # write_plan fills it in
        graph_sha256=sha256_of(request.graph),
        parameters_sha256=properties.get("parameters_sha256", ""),
        weights=properties.get("weights", ""),
        precision=precision_of(graph),
        tensorrt=version,
        capability=capability,
        gpu=gpu,
        max_batch=request.max_batch,
        profiles=profiles(request.max_batch),
        plugin=("serialized" if request.inside else "beside") if library else "none",
        plugin_sha256=sha256_of(library) if library else "",
        difference=difference,
        build_s=round(built_s, 1),
    )


def polygraphy_runner(engine: "trt.ICudaEngine", profile: int) -> Runner:
    """Runs an engine with one of its profiles; inputs and outputs are in host memory."""
    from polygraphy.backend.trt import TrtRunner

    def run(inputs: TensorMap) -> Tensors:
        with TrtRunner(engine, optimization_profile=profile) as runner:
            return {name: np.array(value) for name, value in runner.infer(dict(inputs)).items()}

    return run


def check_plan(runners: Iterable[tuple[Profile, Runner]], golden: GoldenCase, tolerance: float, label: str) -> float:
    """Compares every profile with the golden case, at its smallest and its largest batch.

    Args:
        runners: the profiles, each with a function that runs the plan.
        golden: its rows are repeated to fill a batch.
        tolerance: as in `compare`.
        label: the plan's name in errors.
    Returns: the largest difference.
    Raises: ParityError.
    """
    worst = 0.0
    for profile, run in runners:
        for batch in sorted({profile.least, profile.most}):
            outputs = run(_filled(golden.inputs, batch))
            who = f"TensorRT, {label}, batch {batch}"
            worst = max(worst, compare(_filled(golden.outputs, batch), outputs, who, tolerance))
    return worst


def _filled(tensors: TensorMap, batch: int) -> Tensors:
    return {name: value[np.arange(batch) % len(value)] for name, value in tensors.items()}


def golden_case(graph: ModelProto, path: Path) -> GoldenCase:
    """Reads the golden case of an exported graph. Raises: EngineError if it lacks a tensor of the graph."""
    case = dict(np.load(path))
    names = [[value.name for value in values] for values in (graph.graph.input, graph.graph.output)]
    if missing := [name for name in (*names[0], *names[1]) if name not in case]:
        raise EngineError(f"{path}: lacks {', '.join(missing)}; use the golden case that eulernet export wrote")
    inputs, outputs = ({name: case[name] for name in each} for each in names)
    return GoldenCase(inputs, outputs)


def pictures_case(graph: ModelProto, path: Path) -> GoldenCase:
    """Golden case of a graph that `eulernet export` does not write: pictures, and ONNX Runtime's outputs for them.

    Args:
        graph: with one input, uint8 (N, S, S, 3).
        path: golden case with the pictures, FACE uint8 (N, T, 256, 256, 3); uses every 256/S-th pixel.
    """
    (image,) = graph.graph.input
    side = image.type.tensor_type.shape.dim[1].dim_value
    faces = np.load(path)[FACE]
    faces = faces.reshape(-1, *faces.shape[-3:])
    step = faces.shape[1] // side
    return case_of_onnxruntime(graph, {image.name: np.ascontiguousarray(faces[:, ::step, ::step])})


def case_of_onnxruntime(graph: ModelProto, inputs: TensorMap) -> GoldenCase:
    """Golden case of these inputs and the graph's outputs in ONNX Runtime."""
    return GoldenCase(inputs, onnxruntime_runner(graph)(inputs))


def write_plan(plan: bytes, record: PlanRecord, out: Path) -> tuple[Path, PlanRecord]:
    """Writes the plan and its record into `out`/model/, the record last: a plan without a record is refused."""
    path = out / record.model / record.file_name
    path.with_name(path.name + RECORD_SUFFIX).unlink(missing_ok=True)
    write_whole(path, plan)
    record = replace(record, plan_sha256=sha256_of(path))
    write_whole_text(path.with_name(path.name + RECORD_SUFFIX), record.to_json())
    return path, record
