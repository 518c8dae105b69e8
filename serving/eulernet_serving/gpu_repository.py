# SPDX-License-Identifier: Apache-2.0
"""Assembles the folder that the Triton of a GPU node loads, with its manifest.

The folder holds `models/` (plans, serialized DALI pipelines, completed configurations), `plugins/` and `python/` (the
code behind the Python models): Triton takes every folder inside a model repository for a model.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import simplejpeg

import eulernet_core
import eulernet_serving
from eulernet_core import shipped
from eulernet_core.tensors import FACE, STEP_NETWORK_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, identity
from eulernet_core.whole_files import replace_folder, sha256_of
from eulernet_serving import crop_pipelines
from eulernet_serving.cpu_repository import GRAPHS, RepositoryError, check, graph_of, versions
from eulernet_serving.embedded_server import CLOSED_APIS, HOST
from eulernet_serving.kernel_library import PLUGIN_LIBRARY
from eulernet_serving.plan_records import PlanRecord, read_record
from eulernet_serving.repository_manifest import LABELLED, Manifest, Plan, checksums
from eulernet_serving.served_repository import AUTOLOAD_LIBRARY, PYTHON_FOLDER, tensorrt_options
from eulernet_serving.triton_config import WARMUP_FOLDER, complete, config_text, read_config

PIPELINES = {"face_crop": "frames", "clip_crop": "clips"}  # model -> function of crop_pipelines
PACKAGES = (eulernet_core, eulernet_serving)  # vendored whole into PYTHON_FOLDER
NOT_VENDORED = shutil.ignore_patterns("__pycache__", "*.pyc", "data")
REQUIREMENTS = "requirements.txt"
# Imported by the Python models of a GPU node.
NODE_PACKAGES = ("numpy", "opencv-python-headless", "simplejpeg", "python-json-logger")


@dataclass(frozen=True)
class Choice:
    """Which of the plans in a folder: None where there is one only."""

    precision: str | None = None
    tensorrt: str | None = None


def assemble_gpu(
    out: Path,
    engines: Path,
    plugins: Path,
    choice: Choice | None = None,
    source: Path | None = None,
    node_path: str | None = None,
    listen: str = HOST,
) -> Manifest:
    """Writes the folder of a GPU node and its manifest into `out`, replacing the old one.

    Args:
        out: the folder; Triton loads `out`/models.
        engines: folder of the plans of `eulernet engine`.
        plugins: folder of the two plugin libraries of `make plugin`.
        choice: of precision and TensorRT version, where there are plans of several.
        source: the sources; the shipped ones by default.
        node_path: path of `out` on the node; the same path by default.
        listen: address on the node of gRPC and metrics.
    Raises: RepositoryError, PlanError.
    """
    source = source or shipped.model_repository()
    chosen = {model: _chosen(engines / model, choice or Choice()) for model in _models(source, "tensorrt")}
    made: list[Manifest] = []

    def fill(fresh: Path) -> None:
        libraries = _copy_plugins(chosen, plugins, fresh)
        _copy_python(source, fresh)
        frame = golden_frame(source)
        for folder in sorted(path for path in source.iterdir() if path.is_dir()):
            _write_model(folder, fresh / "models", chosen, frame)
        _write_pipelines(source, fresh / "models")
        (fresh / REQUIREMENTS).write_text("".join(f"{name}=={metadata.version(name)}\n" for name in NODE_PACKAGES))
        modes = {record.plugin for records in chosen.values() for record in records.values()}
        command = tritonserver_command(node_path or str(out.resolve()), modes, listen)
        made.append(_gpu_manifest(source, command, fresh, chosen, libraries))
        check(fresh, made[0])
        made[0].write(fresh)

    replace_folder(out, fill)
    return made[0]


def _models(source: Path, backend: str) -> list[str]:
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    return [folder.name for folder in folders if read_config(folder / "config.pbtxt").backend == backend]


def _chosen(folder: Path, choice: Choice) -> dict[Path, PlanRecord]:
    """The plans of one model: one for each compute capability. Raises: RepositoryError where several plans fit."""
    every = {path: read_record(path) for path in sorted(folder.glob("*.plan"))}
    records = {path: record for path, record in every.items() if not record.for_rtx}  # Triton can't load the others
    built_with = {record.tensorrt for record in records.values()}
    if len(built_with) > 1 and choice.tensorrt is None:
        raise RepositoryError(f"{folder}: plans of TensorRT {', '.join(sorted(built_with))}; choose with --tensorrt")
    found: dict[str, list[Path]] = {}
    for path, record in records.items():
        if choice.tensorrt in (None, record.tensorrt):
            found.setdefault(record.capability, []).append(path)
    for capability, paths in found.items():
        found[capability] = [path for path in paths if records[path].precision == choice.precision] or paths
        if len(found[capability]) > 1:
            names = ", ".join(path.name for path in paths)
            raise RepositoryError(f"{folder}: {names} are for one GPU; choose with --precision")
    if not found:
        wanted = f" of TensorRT {choice.tensorrt}" if choice.tensorrt else ""
        raise RepositoryError(
            f"{folder}: no plan{wanted}; eulernet engine builds them, on a GPU of the kind that serves"
        )
    return {path: records[path] for (path,) in found.values()}


def _copy_plugins(chosen: dict[str, dict[Path, PlanRecord]], plugins: Path, fresh: Path) -> dict[str, str]:
    """Copies the library that registers itself on load, where a plan needs one.

    Returns: both libraries' checksums, since plans were built with the other one; nothing where no plan needs them.
    Raises: RepositoryError where one is missing.
    """
    if all(record.plugin != "beside" for records in chosen.values() for record in records.values()):
        return {}
    for name in (PLUGIN_LIBRARY, AUTOLOAD_LIBRARY):
        if not (plugins / name).is_file():
            raise RepositoryError(f"{plugins / name}: missing, and plans need it; make plugin builds it")
    (fresh / "plugins").mkdir()
    shutil.copy(plugins / AUTOLOAD_LIBRARY, fresh / "plugins")
    return {name: sha256_of(plugins / name) for name in (PLUGIN_LIBRARY, AUTOLOAD_LIBRARY)}


def _copy_python(source: Path, fresh: Path) -> None:
    """The Python models that stay Python on a GPU node, and the packages behind them."""
    for model in _models(source, "python"):
        target = fresh / "models" / model / "1"
        target.mkdir(parents=True)
        shutil.copy(source / model / "1" / "model.py", target)
    for package in PACKAGES:
        (folder,) = package.__path__
        shutil.copytree(folder, fresh / PYTHON_FOLDER / package.__name__, ignore=NOT_VENDORED)


def _identity(chosen: dict[str, dict[Path, PlanRecord]]) -> str:
    """Of the networks' plans. `check` refuses plans of other weights than the graphs'."""
    records = [record for graph in GRAPHS for record in chosen[graph].values()]
    return identity(records[0].parameters_sha256, *(record.precision for record in records))


def _write_model(folder: Path, models: Path, all_chosen: dict[str, dict[Path, PlanRecord]], frame: bytes) -> None:
    """A model's completed configuration, its plans and its warm-up's data."""
    target, chosen = models / folder.name, all_chosen.get(folder.name, {})
    (target / "1").mkdir(parents=True, exist_ok=True)  # ensembles have a version folder with nothing in it
    for path in chosen:
        shutil.copy(path, target / "1")
    config = read_config(folder / "config.pbtxt")
    named = {record.capability: path.name for path, record in chosen.items()}
    counts = {len(record.profiles) for record in chosen.values()} or {1}
    if len(counts) > 1:
        raise RepositoryError(f"{folder.name}: plans with {counts} profiles; build them again with one version of this")
    data = complete(config, named, counts.pop(), frame)
    if folder.name in LABELLED:
        config.parameters[IDENTITY_PARAMETER].string_value = _identity(all_chosen)
    (target / "config.pbtxt").write_text(config_text(config, f"model_repository/{folder.name}/config.pbtxt"))
    for name, content in data.items():
        (target / WARMUP_FOLDER).mkdir(exist_ok=True)
        (target / WARMUP_FOLDER / name).write_bytes(content)


def _write_pipelines(source: Path, models: Path) -> None:
    """DALI's pipelines, serialized; that needs no GPU."""
    for model, function in PIPELINES.items():
        batch = read_config(source / model / "config.pbtxt").max_batch_size
        (models / model / "1" / "model.dali").write_bytes(serialized(function, batch))


def serialized(function: str, max_batch: int) -> bytes:
    """A pipeline of `crop_pipelines` as the dali backend loads it, decoding on the GPU."""
    pipeline = getattr(crop_pipelines, function)(batch_size=max_batch, num_threads=1, device_id=None)
    content: bytes = pipeline.serialize()
    return content


def golden_frame(source: Path) -> bytes:
    """For warm-up: a face of the golden case as JPEG, 256x256."""
    faces = np.load(source / STEP_NETWORK_MODEL / "1" / "golden.npz")[FACE]
    content: bytes = simplejpeg.encode_jpeg(faces[0])
    return content


def _gpu_manifest(
    source: Path, command: str, fresh: Path, chosen: dict[str, dict[Path, PlanRecord]], libraries: dict[str, str]
) -> Manifest:
    graphs = {model: graph_of(source / model / "1" / "model.onnx") for model in GRAPHS}
    entries = {
        model: [
            Plan(
                file=f"models/{model}/1/{path.name}",
                capability=record.capability,
                tensorrt=record.tensorrt,
                precision=record.precision,
                max_batch=record.max_batch,
                parameters_sha256=record.parameters_sha256,
                plugin=record.plugin,
                plugin_sha256=record.plugin_sha256,
                difference=record.difference,
            )
            for path, record in records.items()
        ]
        for model, records in chosen.items()
    }
    tensorrt = {record.tensorrt for records in chosen.values() for record in records.values()}
    return Manifest(
        target="gpu",
        models="models",
        weights=graphs[GRAPHS[0]].weights,
        command=command,
        graphs=graphs,
        versions={**versions("nvidia-dali-cuda120", *NODE_PACKAGES), "tensorrt": ", ".join(sorted(tensorrt))},
        plans=entries,
        plugins=libraries,
        files=checksums(fresh),
    )


def tritonserver_command(out: str, plugin_modes: Iterable[str], listen: str = HOST) -> str:
    """The command line for the GPU node; its environment holds the key of the closed interfaces. HTTP is closed.

    Args:
        out: the assembled folder, as the node sees it.
        plugin_modes: of the plans: `none`, `beside`, `serialized`.
        listen: address of gRPC and metrics.
    """
    closed = f'{CLOSED_APIS}:eulernet-key="${{EULERNET_KEY:?choose one}}"'
    options = [
        f"PYTHONPATH={out}/{PYTHON_FOLDER}${{PYTHONPATH:+:$PYTHONPATH}}",
        "tritonserver",
        f"--model-repository={out}/models",
        "--disable-auto-complete-config",
        *tensorrt_options(out, plugin_modes),
        "--allow-http=false",
        f"--grpc-address={listen}",
        f"--metrics-address={listen}",
        f"--grpc-restricted-protocol={closed}",
    ]
    return " \\\n  ".join(options)
