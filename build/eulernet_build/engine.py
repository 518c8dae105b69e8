"""From a graph to a TensorRT plan for this machine's GPU: built, held against the golden case, and only then kept.

A plan runs on the GPU architecture and the TensorRT version that it was built with, so both are in its name.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto

from eulernet_build.face_models.files import sha256_of, write_whole
from eulernet_build.gpu import Gpu, NoGpuError, architecture, find_gpu
from eulernet_build.parity import Runner, TensorMap, Tensors, compare, onnxruntime_runner
from eulernet_build.plans import (
    RECORD_SUFFIX,
    TOLERANCES,
    PlanRecord,
    Profile,
    creators,
    metadata,
    plugin_nodes,
    precision_of,
    profiles,
)

if TYPE_CHECKING:
    import tensorrt as trt

    from eulernet_build.tensorrt_api import BuildSettings

OLDEST = (10, 13)
PLUGIN_LIBRARY = Path("out/plugins/libeulernet_plugins.so")  # in the clone
CONTAINER = "nvcr.io/nvidia/tensorrt"


class EngineError(Exception):
    """No plan was made; the message says why and what to do."""


@dataclass(frozen=True)
class GoldenCase:
    """Inputs and expected outputs of a graph by name, any number of rows each."""

    inputs: TensorMap
    outputs: TensorMap


@dataclass(frozen=True)
class Request:
    """What to build.

    `plugin`: the library, or None to compute the filters by the bodies that the graph carries; `inside`: serialize the
    library into the plan.
    """

    model: str
    graph: Path
    max_batch: int
    golden: GoldenCase
    plugin: Path | None = None
    inside: bool = False


def require() -> Gpu:
    """This machine's GPU, where TensorRT is there too and new enough. Raises: EngineError with the remedy."""
    try:
        gpu = find_gpu()
    except NoGpuError as error:
        raise EngineError(str(error)) from None
    for module, remedy in (
        ("tensorrt", f"run this in the container {CONTAINER} of the release that serves (docs/gpu.md)"),
        ("polygraphy", "pip install -c constraints.txt -e '.[gpu]'"),
    ):
        if find_spec(module) is None:
            raise EngineError(f"{module} is not installed here: {remedy}")
    import tensorrt

    check_version(tensorrt.__version__)
    return gpu


def check_version(version: str) -> None:
    """Raises: EngineError where TensorRT is older than 10.13."""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EngineError(f"TensorRT {version}: {oldest} or newer is needed; take a newer container of {CONTAINER}")


def build_engine(request: Request, out: Path, settings: "BuildSettings") -> tuple[Path, PlanRecord]:
    """Builds a plan, holds it against the golden case, and writes it with its record into `out`.

    Args:
        request: what to build.
        out: the folder; the timing cache lies there too.
        settings: for TensorRT's builder.
    Returns: the plan's path and its record.
    Raises: EngineError, BuildError; ParityError where the plan does not compute what the network does.
    """
    gpu = require()
    from eulernet_build import tensorrt_api

    graph = onnx.load(request.graph)
    nodes = plugin_nodes(graph) if request.plugin else []
    library = request.plugin if nodes else None
    version = tensorrt_api.version()
    cache = out / f"timing.{architecture(gpu.capability)}.trt{version}.cache"
    builder = tensorrt_api.PlanBuilder(settings, cache)
    if library:
        builder.load_plugins(library, creators(nodes))
    wanted = profiles(request.max_batch)
    started_s = time.monotonic()
    plan = builder.build(
        request.graph.read_bytes(), wanted, len(nodes), [library] if library and request.inside else []
    )
    built_s = time.monotonic() - started_s
    engine = tensorrt_api.load_plan(plan, builder.logger, library, request.inside)
    precision = precision_of(graph)
    runners = ((profile, polygraphy_runner(engine, i)) for i, profile in enumerate(wanted))
    difference = check_plan(runners, request.golden, TOLERANCES[precision], f"{request.model}, {precision}")
    record = PlanRecord(
        model=request.model,
        plan_sha256="",
        graph_sha256=sha256_of(request.graph),
        parameters_sha256=metadata(graph).get("parameters_sha256", ""),
        weights=metadata(graph).get("weights", ""),
        precision=precision,
        tensorrt=version,
        capability=gpu.capability,
        gpu=gpu.name,
        max_batch=request.max_batch,
        profiles=wanted,
        plugin=("serialized" if request.inside else "beside") if library else "none",
        plugin_sha256=sha256_of(library) if library else "",
        difference=difference,
        build_s=round(built_s, 1),
    )
    return write_plan(plan, record, out)


def polygraphy_runner(engine: "trt.ICudaEngine", profile: int) -> Runner:
    """Runs an engine under one of its profiles, from host memory to host memory."""
    from polygraphy.backend.trt import TrtRunner

    def run(inputs: TensorMap) -> Tensors:
        with TrtRunner(engine, optimization_profile=profile) as runner:
            return {name: np.array(value) for name, value in runner.infer(dict(inputs)).items()}

    return run


def check_plan(runners: Iterable[tuple[Profile, Runner]], golden: GoldenCase, tolerance: float, label: str) -> float:
    """Holds every profile against the golden case, at its smallest and its largest batch.

    Args:
        runners: the profiles, and what runs the plan under each.
        golden: its rows are repeated to fill a batch.
        tolerance: as for `compare`.
        label: what the plan is called in an error.
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
    """The case that the export wrote beside a graph. Raises: EngineError where a tensor of the graph is not in it."""
    case = dict(np.load(path))
    names = [[value.name for value in values] for values in (graph.graph.input, graph.graph.output)]
    if missing := [name for name in (*names[0], *names[1]) if name not in case]:
        raise EngineError(f"{path}: no {', '.join(missing)}; eulernet export writes a golden case for each graph")
    inputs, outputs = ({name: case[name] for name in each} for each in names)
    return GoldenCase(inputs, outputs)


def pictures_case(graph: ModelProto, path: Path) -> GoldenCase:
    """For a graph that was not trained here: ONNX Runtime's answers to the pictures of another graph's golden case.

    Args:
        graph: takes one input, uint8 (N, S, S, 3).
        path: a golden case with FACE uint8 (N, T, 256, 256, 3); every 256/S-th pixel is taken.
    """
    (image,) = graph.graph.input
    side = image.type.tensor_type.shape.dim[1].dim_value
    faces = np.load(path)["FACE"]
    faces = faces.reshape(-1, *faces.shape[-3:])
    step = faces.shape[1] // side
    return case_of_onnxruntime(graph, {image.name: np.ascontiguousarray(faces[:, ::step, ::step])})


def case_of_onnxruntime(graph: ModelProto, inputs: TensorMap) -> GoldenCase:
    """These inputs with ONNX Runtime's answers of the very graph."""
    return GoldenCase(inputs, onnxruntime_runner(graph)(inputs))


def write_plan(plan: bytes, record: PlanRecord, out: Path) -> tuple[Path, PlanRecord]:
    """The plan and its record into `out`/model/, the record last: a plan without one is not taken."""
    path = out / record.model / record.file_name
    path.with_name(path.name + RECORD_SUFFIX).unlink(missing_ok=True)
    write_whole(path, plan)
    record = replace(record, plan_sha256=sha256_of(path))
    write_whole(path.with_name(path.name + RECORD_SUFFIX), record.to_json().encode())
    return path, record
