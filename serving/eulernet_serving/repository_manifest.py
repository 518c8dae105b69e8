# SPDX-License-Identifier: Apache-2.0
"""The parts of an assembled repository: every file's checksum, the graphs, weights, plans and versions.

`faults` compares a folder with its manifest; a repository with any fault is not written in the first place.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import WEIGHTS_PARAMETER
from eulernet_core.whole_files import sha256_of
from eulernet_serving.triton_config import read_config

NAME = "manifest.json"
FORMAT = 1
LABELLED = (STREAM_MODEL, CLIP_MODEL)  # the ensembles that carry the label of the weights
CPU = "cpu"  # targets: of `eulernet serve`
CPU_ONE_STAGE = "cpu_one_stage"  # of `eulernet serve --one-stage`
GPU_PIP = "gpu_pip"  # of `eulernet serve --gpu`
EMBEDDED = (CPU, CPU_ONE_STAGE, GPU_PIP)  # those that the embedded Triton runs
CONFIG = {**{target: f"configs/{target}.pbtxt" for target in EMBEDDED}, "gpu": "config.pbtxt"}


class ManifestError(Exception):
    """A folder has no manifest that can be read; the message gives the remedy."""


@dataclass(frozen=True)
class Graph:
    """The graph behind a model."""

    sha256: str
    parameters_sha256: str
    weights: str


@dataclass(frozen=True)
class Plan:
    """One plan of a model, as its record says; `file` relative to the manifest's folder."""

    file: str
    capability: str
    tensorrt: str
    precision: str
    max_batch: int
    parameters_sha256: str
    plugin: str
    plugin_sha256: str
    difference: float | None


@dataclass(frozen=True)
class Manifest:
    """`models`: the folder that Triton loads, relative to the manifest's; `command`: the command line that loads it."""

    target: str
    models: str
    weights: str
    command: str
    graphs: dict[str, Graph]
    versions: dict[str, str]
    plans: dict[str, list[Plan]] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Writes `manifest.json`; the same repository gives the same bytes."""
        (folder / NAME).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an assembled repository. Raises: ManifestError."""
    path = folder / NAME
    if not path.is_file():
        raise ManifestError(f"{path}: missing; eulernet repository --out {folder} puts a whole repository together")
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, this version reads {FORMAT}")
        values["graphs"] = {model: Graph(**each) for model, each in values["graphs"].items()}
        values["plans"] = {model: [Plan(**each) for each in plans] for model, plans in values["plans"].items()}
        return Manifest(**{each.name: values[each.name] for each in fields(Manifest)})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path}: no manifest ({error}); put the repository together again") from None


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder by relative path; the manifest and Python's caches are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {str(path.relative_to(folder)): sha256_of(path) for path in paths if path.suffix != ".pyc"}


def faults(folder: Path, manifest: Manifest) -> list[str]:
    """Every file that is missing, changed, unknown, or does not fit the others; empty for a whole repository."""
    there = checksums(folder)
    found = [f"{name}: missing" for name in manifest.files if name not in there]
    found += [
        f"{name}: changed, sha256 is {there[name]}, {sha256} expected"
        for name, sha256 in manifest.files.items()
        if name in there and there[name] != sha256
    ]
    found += [f"{name}: not in the manifest" for name in there if name not in manifest.files]
    return found or [*_weights_faults(folder, manifest), *_plan_faults(folder, manifest)]


def _weights_faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    """The step graph, the clip graph and the labels that clients see belong to the same weights."""
    for model, graph in manifest.graphs.items():
        if graph.weights != manifest.weights:
            yield f"{model}: its graph's weights are {graph.weights!r}, {manifest.weights!r} expected"
    if len({graph.parameters_sha256 for graph in manifest.graphs.values()}) > 1:
        yield f"{', '.join(manifest.graphs)}: their graphs have different parameters; eulernet export writes both"
    for ensemble in LABELLED:
        path = folder / manifest.models / ensemble / CONFIG[manifest.target]
        label = read_config(path).parameters[WEIGHTS_PARAMETER].string_value
        if label != manifest.weights:
            yield f"{path.relative_to(folder)}: says weights {label!r}, the graphs' are {manifest.weights!r}"


def _plan_faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Plans are of their model's weights, of one TensorRT, for the same GPUs, as the configurations name them."""
    plans = [plan for model in manifest.plans for plan in manifest.plans[model]]
    if len({plan.tensorrt for plan in plans}) > 1:
        yield f"plans of TensorRT {', '.join(sorted({plan.tensorrt for plan in plans}))}: a server has one version only"
    capabilities = {model: {plan.capability for plan in each} for model, each in manifest.plans.items()}
    for model, have in capabilities.items():
        if missing := set().union(*capabilities.values()) - have:
            yield f"{model}: no plan for compute capability {', '.join(sorted(missing))}, others have one"
        config = read_config(folder / manifest.models / model / CONFIG[manifest.target])
        named = {f"{manifest.models}/{model}/1/{name}" for name in config.cc_model_filenames.values()}
        if named != {plan.file for plan in manifest.plans[model]}:
            yield f"{model}: config.pbtxt names {', '.join(sorted(named)) or 'no plan'}, the manifest has others"
        for plan in manifest.plans[model]:
            yield from _one_plan_faults(plan, manifest.graphs.get(model), config.max_batch_size, manifest.plugins)


def _one_plan_faults(plan: Plan, graph: Graph | None, max_batch: int, plugins: dict[str, str]) -> Iterator[str]:
    if graph is not None and plan.parameters_sha256 != graph.parameters_sha256:
        yield f"{plan.file}: built from other weights than the graph's; eulernet engine builds it again"
    if plan.max_batch < max_batch:
        yield f"{plan.file}: takes batches up to {plan.max_batch}, config.pbtxt says {max_batch}"
    if plan.plugin == "beside" and plan.plugin_sha256 not in plugins.values():
        yield f"{plan.file}: built with another plugin library than the one here; eulernet engine builds it again"
