# SPDX-License-Identifier: Apache-2.0
"""Assembles the repository of `eulernet serve --gpu`: the embedded server's, with the plans and libraries for a GPU."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eulernet_core.tensors import FACE_DETECTOR_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, identity
from eulernet_core.whole_files import replace_folder
from eulernet_serving.cpu_precision import FP32
from eulernet_serving.cpu_repository import GRAPHS, RepositoryError, check, gather, graph_of, leave_out_unused, versions
from eulernet_serving.gpu_presence import CPU, device_kind
from eulernet_serving.kernel_library import KERNEL_LIBRARY, PLUGIN_LIBRARY
from eulernet_serving.plan_records import FUSED_GRAPH, RECORD_SUFFIX, TOLERANCES
from eulernet_serving.repository_manifest import CONFIG, GPU_PIP, LABELLED, Manifest, checksums

NETWORKS = (*GRAPHS, FACE_DETECTOR_MODEL)  # the models that run on the GPU


@dataclass(frozen=True)
class GpuParts:
    """Where plans, fused graphs and libraries may lie; whatever is missing is left out.

    Attributes:
        engines: folders of `eulernet engine`.
        plugins: folder of `make plugin`.
        precision: of the networks.
    """

    engines: Sequence[Path] = (Path("out/engines"), Path("out/engines_rtx"))
    plugins: Path = Path("out/plugins")
    precision: str = "fp32"


def assemble_gpu_pip(
    out: Path, parts: GpuParts, source: Path | None = None, face_models: Path | None = None
) -> Manifest:
    """Writes the repository and its manifest into `out`, replacing the old one.

    Args:
        out: the repository's folder.
        parts: plans and libraries to take.
        source: the sources; the shipped ones by default.
        face_models: folder of the face models; the user's cache by default.
    Raises: RepositoryError; FetchError where the face models can't be fetched; GpuMissingError for a wrong
        EULERNET_GPU_DEVICE.
    """
    if parts.precision not in TOLERANCES:
        raise RepositoryError(f"precision {parts.precision}: choose one of {', '.join(TOLERANCES)}")
    on_cpu = device_kind() == CPU
    made: list[Manifest] = []

    def fill(fresh: Path) -> None:
        gather(fresh, source, face_models, FP32)
        leave_out_unused(fresh, GPU_PIP, [FACE_DETECTOR_MODEL])  # the detector is called by a stage
        for model in NETWORKS:
            for path, name in _files(model, parts):
                shutil.copy(path, fresh / model / "1" / name)
        _set_precision(fresh, parts.precision)
        if on_cpu:
            _move_to_cpu(fresh)
        graphs = {model: graph_of(fresh / model / "1" / "model.onnx") for model in GRAPHS}
        made.append(
            Manifest(
                target=GPU_PIP,
                models=".",
                weights=graphs[GRAPHS[0]].weights,
                command=f"eulernet serve --repository {out}",
                graphs=graphs,
                versions=versions("onnx", "openvino", "nvidia-pytriton"),
                files=checksums(fresh),
            )
        )
        check(fresh, made[0])
        made[0].write(fresh)

    replace_folder(out, fill)
    return made[0]


def _files(model: str, parts: GpuParts) -> Iterator[tuple[Path, str]]:
    """Files for the version folder of a model, and their names there."""
    for folder in parts.engines:
        for plan in sorted((folder / model).glob("*.plan")):
            record = plan.with_name(plan.name + RECORD_SUFFIX)
            if record.is_file():
                yield from ((plan, plan.name), (record, record.name))
        if model in GRAPHS and (folder / model / FUSED_GRAPH).is_file():
            yield folder / model / FUSED_GRAPH, FUSED_GRAPH
    for library in (PLUGIN_LIBRARY, KERNEL_LIBRARY):
        if (parts.plugins / library).is_file():
            yield parts.plugins / library, library


def _set_precision(repository: Path, precision: str) -> None:
    """In the networks' configurations, and in the identity that clients read."""
    for model in NETWORKS:
        path = repository / model / CONFIG[GPU_PIP]
        path.write_text(
            path.read_text().replace(
                'key: "precision" value { string_value: "fp32" }',
                f'key: "precision" value {{ string_value: "{precision}" }}',
            )
        )
    value = identity(graph_of(repository / GRAPHS[0] / "1" / "model.onnx").parameters_sha256, precision)
    line = f'parameters {{ key: "{IDENTITY_PARAMETER}" value {{ string_value: "{value}" }} }}'
    for ensemble in LABELLED:
        path = repository / ensemble / CONFIG[GPU_PIP]
        path.write_text(f"{path.read_text().rstrip()}\n{line}\n")


def _move_to_cpu(repository: Path) -> None:
    """For tests: Triton starts no instance of KIND_GPU without a GPU; one instance each is enough there."""
    for model in NETWORKS:
        path = repository / model / CONFIG[GPU_PIP]
        text = path.read_text().replace("KIND_GPU", "KIND_CPU")
        path.write_text(text.replace("instance_group [ { count: 2", "instance_group [ { count: 1"))
