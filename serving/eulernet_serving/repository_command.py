# SPDX-License-Identifier: Apache-2.0
"""`eulernet repository`: assembles or verifies a model repository."""

from __future__ import annotations

import sys
from pathlib import Path

import click

DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--target", type=click.Choice(["cpu", "cpu_one_stage", "gpu_pip", "gpu"]), default="cpu", show_default=True
)
@click.option("--out", type=DIRECTORY, help="out/model_repository or out/TARGET_repository by default.")
@click.option("--face-models", type=DIRECTORY, help="Not for gpu: folder of the face models.")
@click.option("--engines", type=DIRECTORY, default="out/engines", show_default=True, help="For a GPU: the plans.")
@click.option("--plugins", type=DIRECTORY, default="out/plugins", show_default=True, help="For a GPU: libraries.")
@click.option(
    "--precision",
    help="On a GPU, if there are plans of several: fp32, fp16, bf16 or int8. For a CPU: fp32, bf16, int8, or auto: "
    "int8 if its error is small and this processor has AVX2; auto by default.",
)
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    help="For a CPU: cores of the machine that serves; this machine's by default. Each takes memory.",
)
@click.option("--tensorrt", help="For gpu, if there are plans of several: the version, such as 10.13.3.9.")
@click.option("--node-path", help="For gpu: path of the folder on the node, for the printed command.")
@click.option(
    "--listen",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="For gpu: address of gRPC and metrics in the printed command.",
)
@click.option("--verify", type=DIRECTORY, help="Verify an assembled folder instead of making one.")
def repository(
    target: str,
    out: Path | None,
    face_models: Path | None,
    engines: Path,
    plugins: Path,
    precision: str | None,
    cores: int | None,
    tensorrt: str | None,
    node_path: str | None,
    listen: str,
    verify: Path | None,
) -> None:
    """Assemble the repository of the embedded server on a CPU (cpu) or a GPU (gpu_pip), or of a GPU node (gpu).

    cpu_one_stage is for a CPU too, with one stage in place of each ensemble, as in eulernet serve --one-stage.

    Prints the command that loads it.

    \b
    Exit status: 0 done or verified, 1 a part is missing, or a verified file is missing, changed or does not fit.
    """
    from eulernet_core.shipped import NotInThisInstallationError
    from eulernet_serving.cpu_precision import AUTO
    from eulernet_serving.cpu_repository import RepositoryError, assemble_cpu
    from eulernet_serving.face_models.wheel_files import FetchError
    from eulernet_serving.gpu_pip_repository import GpuParts, assemble_gpu_pip
    from eulernet_serving.gpu_presence import GpuMissingError, check_dali
    from eulernet_serving.plan_records import PlanError
    from eulernet_serving.repository_manifest import CPU, CPU_ONE_STAGE, GPU_PIP, ManifestError

    try:
        if verify is not None:
            sys.exit(_verify(verify))
        out = out or Path("out/model_repository" if target == CPU else f"out/{target}_repository")
        if target in (CPU, CPU_ONE_STAGE):
            manifest = assemble_cpu(out, face_models, precision or AUTO, target, cores or 0)
        elif target == GPU_PIP:
            parts = GpuParts((engines,), plugins, precision or "fp32")
            manifest = assemble_gpu_pip(out, parts, face_models=face_models)
        else:
            check_dali()
            from eulernet_serving.gpu_repository import Choice, assemble_gpu

            manifest = assemble_gpu(
                out, engines, plugins, Choice(precision, tensorrt), node_path=node_path, listen=listen
            )
        click.echo(f"{out}\n{manifest.command}")
    except (
        RepositoryError,
        FetchError,
        PlanError,
        ManifestError,
        GpuMissingError,
        NotInThisInstallationError,
        ValueError,
    ) as error:
        raise click.ClickException(str(error)) from error


def _verify(folder: Path) -> int:
    """Prints every fault. Returns the exit status."""
    from eulernet_serving.repository_manifest import faults, read_manifest

    manifest = read_manifest(folder)
    found = faults(folder, manifest)
    for fault in found:
        click.echo(fault, err=True)
    click.echo(f"{folder}: {len(found)} faults in {len(manifest.files)} files, weights {manifest.weights}")
    return 1 if found else 0
