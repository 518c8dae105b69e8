"""Assembles what one node's Triton loads, with its manifest: the embedded CPU server's, or a GPU server's.

The GPU one is a folder of `models/` (plans, serialized DALI pipelines, completed configurations) and `plugins/`, since
Triton takes every folder inside a model repository for a model.
"""

import ast
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from eulernet_build import plans, repository
from eulernet_build.face_models.files import sha256_of
from eulernet_build.manifest import Graph, Manifest, Plan, checksums, faults
from eulernet_build.plans import PlanRecord, read_record
from eulernet_build.repository import RepositoryError, checkout, served_module
from eulernet_build.triton_config import WARMUP_FOLDER, complete, config_text, read_config

GRAPHS = ("eulernet", "eulernet_clip")  # the models that training makes
PIPELINES = {"face_crop": "frames", "clip_crop": "clips"}  # model -> function of face_crop/1/pipelines.py
PLUGIN_LIBRARY, AUTOLOAD_LIBRARY = "libeulernet_plugins.so", "libeulernet_plugins_autoload.so"
REQUIREMENTS = "requirements.txt"
# What the Python models of a GPU node import.
NODE_PACKAGES = ("numpy", "opencv-python-headless", "simplejpeg", "pillow", "cachetools")
CLOSED_APIS = "model-repository,shared-memory,trace,logging"


@dataclass(frozen=True)
class Choice:
    """Which of the plans in a folder: None where there is one only."""

    precision: str | None = None
    tensorrt: str | None = None


def assemble_cpu(out: Path) -> Manifest:
    """Writes the embedded server's repository and its manifest into `out`, replacing what is there.

    Raises: RepositoryError; FetchError where the face models can't be had.
    """
    repository.assemble(out)
    graphs = {model: _graph(out / model / "1" / "model.onnx") for model in GRAPHS}
    manifest = Manifest(
        target="cpu",
        models=".",
        weights=graphs[GRAPHS[0]].weights,
        command=f"eulernet serve --repository {out}",
        graphs=graphs,
        versions=_versions("onnx", "MNN", "openvino", "nvidia-dali-cuda120", "nvidia-pytriton"),
        files=checksums(out),
    )
    _check(out, manifest)
    manifest.write(out)
    return manifest


def assemble_gpu(
    out: Path,
    engines: Path,
    plugins: Path,
    choice: Choice | None = None,
    source: Path | None = None,
    node_path: str | None = None,
) -> Manifest:
    """Writes what a GPU node's Triton loads and its manifest into `out`, replacing what is there.

    Args:
        out: the folder; Triton loads `out`/models.
        engines: where `eulernet engine` put its plans.
        plugins: where `make plugin` put the two plugin libraries.
        choice: of precision and TensorRT version, where there are plans of several.
        source: the sources; the clone's model_repository/ by default.
        node_path: where the node sees `out`; the same place by default.
    Raises: RepositoryError, PlanError.
    """
    source = source or checkout() / "model_repository"
    chosen = {model: _chosen(engines / model, choice or Choice()) for model in _models(source, "tensorrt")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        libraries = _copy_plugins(chosen, plugins, fresh)
        _copy_python(source, fresh / "models")
        frame = golden_frame(source)
        for folder in sorted(path for path in source.iterdir() if path.is_dir()):
            _write_model(folder, fresh / "models", chosen.get(folder.name, {}), frame)
        _write_pipelines(source, fresh / "models")
        (fresh / REQUIREMENTS).write_text("".join(f"{name}=={metadata.version(name)}\n" for name in NODE_PACKAGES))
        manifest = _gpu_manifest(source, node_path or str(out.resolve()), fresh, chosen, libraries)
        _check(fresh, manifest)
        manifest.write(fresh)
        if out.exists():
            out.rename(Path(scratch) / "old")
        fresh.rename(out)
    return manifest


def _models(source: Path, backend: str) -> list[str]:
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    return [folder.name for folder in folders if read_config(folder / "config.pbtxt").backend == backend]


def _chosen(folder: Path, choice: Choice) -> dict[Path, PlanRecord]:
    """The plans of one model: one for each compute capability. Raises: RepositoryError where it is not clear which."""
    records = {path: read_record(path) for path in sorted(folder.glob("*.plan"))}
    versions = {record.tensorrt for record in records.values()}
    if len(versions) > 1 and choice.tensorrt is None:
        raise RepositoryError(f"{folder}: plans of TensorRT {', '.join(sorted(versions))}; choose with --tensorrt")
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


def _copy_python(source: Path, models: Path) -> None:
    """The Python models that stay Python on a GPU node, and the modules of other models that they import."""
    modules = {path.stem: path for path in source.glob("*/1/*.py") if path.stem != "model"}
    waiting = [path for model in _models(source, "python") for path in (source / model / "1").glob("*.py")]
    done: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in done:
            done.add(path)
            waiting += [modules[name] for name in imports(path) if name in modules]
    for path in done:
        target = models / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def imports(path: Path) -> set[str]:
    """Top-level names that a Python file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def _write_model(folder: Path, models: Path, chosen: dict[Path, PlanRecord], frame: bytes) -> None:
    """A model's completed configuration, its plans and its warm-up's data."""
    target = models / folder.name
    (target / "1").mkdir(parents=True, exist_ok=True)  # ensembles have a version folder with nothing in it
    for path in chosen:
        shutil.copy(path, target / "1")
    config = read_config(folder / "config.pbtxt")
    named = {record.capability: path.name for path, record in chosen.items()}
    counts = {len(record.profiles) for record in chosen.values()} or {1}
    if len(counts) > 1:
        raise RepositoryError(f"{folder.name}: plans with {counts} profiles; build them again with one version of this")
    data = complete(config, named, counts.pop(), frame)
    (target / "config.pbtxt").write_text(config_text(config, f"model_repository/{folder.name}/config.pbtxt"))
    for name, content in data.items():
        (target / WARMUP_FOLDER).mkdir(exist_ok=True)
        (target / WARMUP_FOLDER / name).write_bytes(content)


def _write_pipelines(source: Path, models: Path) -> None:
    """DALI's pipelines, serialized; that needs no GPU."""
    for model, function in PIPELINES.items():
        batch = read_config(source / model / "config.pbtxt").max_batch_size
        (models / model / "1" / "model.dali").write_bytes(serialized(source, function, batch))


def serialized(source: Path, function: str, max_batch: int) -> bytes:
    """A pipeline of `face_crop/1/pipelines.py` as the dali backend loads it, decoding on the GPU."""
    module = served_module(source / "face_crop" / "1" / "pipelines.py")
    pipeline = getattr(module, function)(batch_size=max_batch, num_threads=1, device_id=None)
    content: bytes = pipeline.serialize()
    return content


def golden_frame(source: Path) -> bytes:
    """For warm-up: a face of the golden case as JPEG, 256x256."""
    import simplejpeg

    content: bytes = simplejpeg.encode_jpeg(np.load(source / "eulernet" / "1" / "golden.npz")["FACE"][0])
    return content


def _graph(path: Path) -> Graph:
    properties = plans.metadata(onnx.load(path))
    return Graph(sha256_of(path), properties["parameters_sha256"], properties["weights"])


def _versions(*packages: str) -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: metadata.version(name) for name in ("eulernet", *packages)}}


def _gpu_manifest(
    source: Path, node_path: str, fresh: Path, chosen: dict[str, dict[Path, PlanRecord]], libraries: dict[str, str]
) -> Manifest:
    graphs = {model: _graph(source / model / "1" / "model.onnx") for model in GRAPHS}
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
    modes = {record.plugin for records in chosen.values() for record in records.values()}
    versions = {record.tensorrt for records in chosen.values() for record in records.values()}
    return Manifest(
        target="gpu",
        models="models",
        weights=graphs[GRAPHS[0]].weights,
        command=tritonserver_command(node_path, modes),
        graphs=graphs,
        versions={**_versions("nvidia-dali-cuda120", *NODE_PACKAGES), "tensorrt": ", ".join(sorted(versions))},
        plans=entries,
        plugins=libraries,
        files=checksums(fresh),
    )


def tritonserver_command(out: str, plugin_modes: Iterable[str]) -> str:
    """What to type on the GPU node; the key of the closed interfaces comes from its environment.

    Args:
        out: the assembled folder, as the node sees it.
        plugin_modes: of the plans: `none`, `beside`, `serialized`.
    """
    modes = set(plugin_modes)
    closed = f'{CLOSED_APIS}:eulernet-key="${{EULERNET_KEY:?choose one}}"'
    options = [
        f"--model-repository={out}/models",
        "--disable-auto-complete-config",
        *([f"--backend-config=tensorrt,plugins={out}/plugins/{AUTOLOAD_LIBRARY}"] if "beside" in modes else []),
        # A library inside a plan is run only if plans are trusted, which this switch says.
        *(["--backend-config=tensorrt,version-compatible=true"] if "serialized" in modes else []),
        f"--http-restricted-api={closed}",
        f"--grpc-restricted-protocol={closed}",
    ]
    return " \\\n  ".join(["tritonserver", *options])


def _check(folder: Path, manifest: Manifest) -> None:
    if found := faults(folder, manifest):
        raise RepositoryError("; ".join(found))
