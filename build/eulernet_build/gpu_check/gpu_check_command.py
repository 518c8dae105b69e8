# SPDX-License-Identifier: Apache-2.0
"""`eulernet gpu-check`: the checks of the GPU path that need a GPU, reported as a table and as JSON."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eulernet_build.gpu import Gpu
    from eulernet_build.gpu_check.judge import Row

PARTS = ("kernels", "sanitizer", "speed", "engines")
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("gpu-check")
@click.option("--json", "json_path", type=FILE, default=Path("out/gpu_check.json"), show_default=True, help="Report.")
@click.option("--library", type=FILE, show_default="out/plugins/libeulernet_kernels.so", help="Kernels.")
@click.option("--plugin", type=FILE, show_default="out/plugins/libeulernet_plugins.so", help="Plugins.")
@click.option(
    "--engines",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/engines"),
    show_default=True,
    help="Folder for plans.",
)
@click.option("--skip", multiple=True, type=click.Choice(PARTS), help="Leave out a part; repeatable.")
def gpu_check(json_path: Path, library: Path | None, plugin: Path | None, engines: Path, skip: tuple[str, ...]) -> None:
    """Check the CUDA kernels, and TensorRT plans if TensorRT is installed, on this machine's NVIDIA GPU.

    Compares the kernels with a float64 reference, runs them under compute-sanitizer, and compares their speed with the
    GPU's copy bandwidth, torch eager and torch.compile. Builds plans, compares them with ONNX Runtime through
    polygraphy, and times them.

    \b
    Exit status: 0 no check failed,
    1 a check failed, or no GPU, no CUDA build of torch, or no kernel library.
    """
    from rich.console import Console

    from eulernet_build.engine import EngineError
    from eulernet_build.gpu import NoGpuError, find_gpu
    from eulernet_build.gpu_check import gpu_check_report as report
    from eulernet_build.gpu_check.kernels import LIBRARY, KernelError
    from eulernet_core import shipped
    from eulernet_serving.face_models.wheel_files import FetchError

    try:
        gpu = find_gpu()
        machine = describe(gpu)
        library = library or shipped.clone(*LIBRARY.parts)
        parts = run_parts(shipped.model_repository(), gpu, library, plugin, engines, set(skip))
        rows = []
        for row in parts:
            rows.append(row)
            click.echo(f"{row.outcome:8} {row.part}: {row.name}", err=True)
    except (NoGpuError, KernelError, EngineError, FetchError, shipped.NotInThisInstallationError) as error:
        raise click.ClickException(str(error)) from error
    Console().print(report.table(rows))
    report.write_json(json_path, machine, rows)
    click.echo(f"{gpu.name}: {report.summary(rows)}; {json_path}")
    sys.exit(1 if report.failed(rows) else 0)


def describe(gpu: "Gpu") -> dict[str, Any]:
    """The machine, for the report. Raises: NoGpuError if torch can't use the GPU."""
    from dataclasses import asdict

    import torch

    from eulernet_build.gpu import NoGpuError

    if not torch.cuda.is_available():
        raise NoGpuError(
            f"{gpu.name}: torch {torch.__version__} can't use it; install a CUDA build of torch, or run this in the "
            "container nvcr.io/nvidia/pytorch (docs/gpu.md)"
        )
    return {**asdict(gpu), "torch": torch.__version__, "torch_cuda": torch.version.cuda}


def run_parts(
    repository: Path, gpu: "Gpu", library: Path, plugin: Path | None, out: Path, skip: set[str]
) -> "Iterator[Row]":
    """Yields the rows of all parts but `skip`. Raises: KernelError if the kernel library can't be loaded."""
    import torch

    from eulernet_build.gpu_check import cases, correctness, kernel_speed, sanitizer
    from eulernet_build.gpu_check.kernels import Kernels

    kernels = Kernels(library)

    def implementation(case: cases.Case, given: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        kernels.run(case, given, outputs, torch.cuda.current_stream().cuda_stream)

    if "kernels" not in skip:
        yield from correctness.check_cases(implementation, cases.checked_cases(), "cuda")
    if "sanitizer" not in skip:
        yield from sanitizer.check(library)
    if "speed" not in skip:
        yield from kernel_speed.time_cases(implementation, cases.timed_cases(), gpu.l2_bytes)
    if "engines" not in skip:
        from eulernet_build.engine import PLUGIN_LIBRARY
        from eulernet_build.gpu_check import engines  # needs packages that the kernels do not need
        from eulernet_core import shipped

        yield from engines.check_engines(repository, out, plugin or shipped.clone(*PLUGIN_LIBRARY.parts))
