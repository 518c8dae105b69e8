# SPDX-License-Identifier: Apache-2.0
"""What `tritonserver` loads from a repository's folder: the embedded server's or a GPU node's (gpu).

Imports no stage's package: a GPU node has no DALI or ONNX Runtime for Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eulernet_serving.repository_manifest import CONFIG, CPU, EMBEDDED, NAME, read_manifest

AUTOLOAD_LIBRARY = "libeulernet_plugins_autoload.so"
PYTHON_FOLDER = "python"


@dataclass(frozen=True)
class ServedRepository:
    """A repository as the server loads it.

    Attributes:
        target: of repository_manifest.CONFIG; the embedded Triton runs all but gpu.
        models: the folder for --model-repository.
        options: of tritonserver, for the target's backends.
        python: folder for PYTHONPATH with the code of the Python models; None where the environment has it.
    """

    target: str
    models: Path
    options: tuple[str, ...]
    python: Path | None

    @property
    def embedded(self) -> bool:
        """Whether the embedded Triton runs it, not one that the machine has installed."""
        return self.target != "gpu"

    def config(self, model: str) -> Path:
        """Path of the model's configuration that the server reads."""
        return self.models / model / CONFIG[self.target]


def read_served(folder: Path) -> ServedRepository:
    """The repository of a folder; one without a manifest is the embedded server's. Raises: ManifestError."""
    if not (folder / NAME).is_file():
        return _embedded(CPU, folder)
    manifest = read_manifest(folder)
    models = folder / manifest.models
    if manifest.target in EMBEDDED:
        return _embedded(manifest.target, models)
    modes = {plan.plugin for plans in manifest.plans.values() for plan in plans}
    return ServedRepository(
        manifest.target, models, tuple(tensorrt_options(str(folder), modes)), folder / PYTHON_FOLDER
    )


def _embedded(target: str, models: Path) -> ServedRepository:
    return ServedRepository(target, models, (f"--model-config-name={target}",), None)


def tensorrt_options(folder: str, plugin_modes: Iterable[str]) -> list[str]:
    """Options for the plans of a GPU node's folder, given their modes: `none`, `beside`, `serialized`."""
    modes = set(plugin_modes)
    return [
        *([f"--backend-config=tensorrt,plugins={folder}/plugins/{AUTOLOAD_LIBRARY}"] if "beside" in modes else []),
        # A library inside a plan is run only if plans are trusted; this switch does that.
        *(["--backend-config=tensorrt,version-compatible=true"] if "serialized" in modes else []),
    ]
