# SPDX-License-Identifier: Apache-2.0
"""Assembles the model repository that the embedded Triton server loads: the sources and the face detector's graph."""

import re
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import onnx

from eulernet_core import shipped
from eulernet_core.face_box import crop_fault
from eulernet_core.tensors import CLIP_MODEL, CLIP_NETWORK_MODEL, FACE_DETECTOR_MODEL, STEP_NETWORK_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, identity
from eulernet_core.whole_files import replace_folder, sha256_of
from eulernet_serving.core_shares import cores, one_stage_instances
from eulernet_serving.cpu_precision import (
    AUTO,
    FP32,
    GRAPH,
    INT8,
    PrecisionError,
    apply_precision,
    chosen_precision,
    int8_name,
)
from eulernet_serving.face_detecting import DETECTOR_GRAPH
from eulernet_serving.face_models.converted import DETECTOR_NAME, make_face_models
from eulernet_serving.graph_preparation import prepare
from eulernet_serving.plan_records import graph_properties, precision_of
from eulernet_serving.repository_manifest import (
    CONFIG,
    CPU,
    CPU_ONE_STAGE,
    LABELLED,
    Graph,
    Manifest,
    checksums,
    faults,
)
from eulernet_serving.runtime import PRECISIONS
from eulernet_serving.triton_config import read_config

GRAPHS = (STEP_NETWORK_MODEL, CLIP_NETWORK_MODEL)  # the models made by training
# By target: the stage that infers each of them, and the stages that run the face detector.
INFERRED_BY = {
    CPU: dict(zip(GRAPHS, GRAPHS, strict=True)),
    CPU_ONE_STAGE: {STEP_NETWORK_MODEL: STREAM_MODEL, CLIP_NETWORK_MODEL: CLIP_MODEL},
}
LOCATING = {CPU: ("face_crop", "clip_crop"), CPU_ONE_STAGE: (STREAM_MODEL, CLIP_MODEL)}
# Triton keeps a sequence that never had a usable frame for 31 s. A core of a fast machine answers 300 such starts a
# second, so no flood of them fills the places and locks others out.
PLACES_PER_CORE = 12_288
_CANDIDATES = re.compile(r"(max_candidate_sequences: )(\d+)")
GENERATED = shutil.ignore_patterns("__pycache__", "*.pyc", ".gitkeep")


class RepositoryError(Exception):
    """The repository can't be assembled; the message names the missing part."""


def assemble(
    out: Path,
    source: Path | None = None,
    face_models: Path | None = None,
    precision: str = AUTO,
    target: str = CPU,
    on_cores: int = 0,
) -> Path:
    """Writes the embedded server's repository to `out`, replacing the old one in one step.

    Args:
        out: the repository's folder.
        source: the sources; the shipped ones by default.
        face_models: folder of the converted face models, which are made there if they are missing; the user's cache by
            default.
        precision: of the networks on a CPU; see `chosen_precision`.
        target: CPU or CPU_ONE_STAGE.
        on_cores: of the machine that will serve, 0: this process's. For more of them the server takes more memory.
    Returns: `out`.
    Raises: RepositoryError; FetchError where the face models can't be fetched.
    """

    def fill(fresh: Path) -> None:
        gather(fresh, source, face_models, precision, target)
        detector = fresh / FACE_DETECTOR_MODEL / "1" / GRAPH
        for model in LOCATING[target]:
            shutil.copy(detector, fresh / model / "1" / DETECTOR_GRAPH)
        for graph, model in INFERRED_BY[target].items():
            if model != graph:
                shutil.copy(fresh / graph / "1" / GRAPH, fresh / model / "1" / GRAPH)
        leave_out_unused(fresh, target)
        _fit_machine(fresh, target, on_cores or cores())
        _write_identity(fresh, target)
        _prepare_graphs(fresh, target)

    replace_folder(out, fill)
    return out


def gather(fresh: Path, source: Path | None, face_models: Path | None, precision: str, target: str = CPU) -> None:
    """Fills an empty folder with the sources of every model and their graphs, for all configurations.

    Args:
        fresh: the folder.
        source, face_models, precision, target: see `assemble`.
    Raises: RepositoryError; FetchError where the face models can't be fetched.
    """
    source = source or shipped.model_repository()
    face_models = face_models or shipped.face_models_folder()
    try:
        chosen = chosen_precision(source, GRAPHS, precision)
    except PrecisionError as error:
        raise RepositoryError(str(error)) from error
    make_face_models(face_models)
    shutil.copytree(source, fresh, ignore=GENERATED, dirs_exist_ok=True)
    for model in fresh.iterdir():
        (model / "1").mkdir(exist_ok=True)  # an ensemble needs a version folder, though an empty one
    shutil.copy(face_models / DETECTOR_NAME, fresh / FACE_DETECTOR_MODEL / "1" / GRAPH)
    for graph in GRAPHS:
        if not (fresh / graph / "1" / GRAPH).is_file():
            raise RepositoryError(f"{source / graph}/1/{GRAPH} is missing: eulernet export writes it")
    configs = {graph: fresh / model / CONFIG[target] for graph, model in INFERRED_BY[target].items()}
    apply_precision(fresh, configs, chosen)


def leave_out_unused(repository: Path, target: str, others: Sequence[str] = ()) -> None:
    """Removes the models that no ensemble of a configuration runs: Triton loads every model of a folder.

    Args:
        repository: with every model.
        target: of repository_manifest.CONFIG.
        others: models that a stage calls.
    """
    used = {STREAM_MODEL, CLIP_MODEL, *others}
    for ensemble in (STREAM_MODEL, CLIP_MODEL):  # without steps where one stage does everything
        steps = read_config(repository / ensemble / CONFIG[target]).ensemble_scheduling.step
        used |= {step.model_name for step in steps}
    for model in [path for path in repository.iterdir() if path.is_dir() and path.name not in used]:
        shutil.rmtree(model)


def _fit_machine(repository: Path, target: str, on_cores: int) -> None:
    """Gives the stages as many instances and places for sequences as a machine can use.

    Triton takes memory for `max_candidate_sequences` in each instance, used or not, so they share the number.
    """
    instances = one_stage_instances(on_cores) if target == CPU_ONE_STAGE else 1

    def places(found: re.Match[str]) -> str:
        return f"{found[1]}{-(-min(int(found[2]), PLACES_PER_CORE * on_cores) // instances)}"

    for path in repository.glob(f"*/{CONFIG[target]}"):
        text = _CANDIDATES.sub(places, path.read_text())
        path.write_text(text.replace("instance_group [ { count: 1 ", f"instance_group [ {{ count: {instances} "))


def _prepare_graphs(repository: Path, target: str) -> None:
    """Prepares the graphs that stages load, so that none of them needs the package `onnx`."""
    for model in INFERRED_BY[target].values():
        prepare(repository / model / "1" / GRAPH)
    for model in LOCATING[target]:
        prepare(repository / model / "1" / DETECTOR_GRAPH)


def assemble_cpu(
    out: Path, face_models: Path | None = None, precision: str = AUTO, target: str = CPU, on_cores: int = 0
) -> Manifest:
    """Writes the embedded server's repository and its manifest into `out`, replacing the old one. See `assemble`.

    Raises: RepositoryError; FetchError where the face models can't be fetched.
    """
    assemble(out, face_models=face_models, precision=precision, target=target, on_cores=on_cores)
    graphs = {model: graph_of(out / model / "1" / GRAPH) for model in INFERRED_BY[target].values()}
    manifest = Manifest(
        target=target,
        models=".",
        weights=graphs[INFERRED_BY[target][STEP_NETWORK_MODEL]].weights,
        command=f"eulernet serve --repository {out}",
        graphs=graphs,
        versions=versions("onnx", "openvino", "simplejpeg", "nvidia-pytriton"),
        files=checksums(out),
    )
    check(out, manifest)
    manifest.write(out)
    return manifest


def _write_identity(repository: Path, target: str) -> None:
    """Adds weights and precision to the configurations that clients can read."""
    models = list(INFERRED_BY[target].values())
    parameters = graph_of(repository / models[0] / "1" / GRAPH).parameters_sha256
    precisions = [_precision(repository, model, target) for model in models]
    value = identity(parameters, *precisions)
    line = f'parameters {{ key: "{IDENTITY_PARAMETER}" value {{ string_value: "{value}" }} }}'
    for ensemble in LABELLED:
        path = repository / ensemble / CONFIG[target]
        path.write_text(f"{path.read_text().rstrip()}\n{line}\n")


def _precision(repository: Path, model: str, target: str) -> str:
    """The name of int8 graphs, else `fp32` or `bf16`, as the network's runtime computes."""
    if precision_of(onnx.load(repository / model / "1" / GRAPH)) == INT8:
        return int8_name([repository / each / "1" / GRAPH for each in INFERRED_BY[target].values()])
    runtime = read_config(repository / model / CONFIG[target]).parameters["runtime"].string_value
    precision = PRECISIONS.get(runtime, "f32")
    return FP32 if precision == "f32" else precision


def graph_of(path: Path) -> Graph:
    """The manifest's entry for an exported graph. Raises: RepositoryError if it learned from other crops."""
    properties = graph_properties(onnx.load(path))
    if fault := crop_fault(properties):
        raise RepositoryError(f"{path}: {fault}")
    return Graph(sha256_of(path), properties["parameters_sha256"], properties["weights"])


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project and of the named packages."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: metadata.version(name) for name in ("eulernet", *packages)}}


def check(folder: Path, manifest: Manifest) -> None:
    """Raises: RepositoryError with every fault of the folder."""
    if found := faults(folder, manifest):
        raise RepositoryError("; ".join(found))
