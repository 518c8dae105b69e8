"""`eulernet gpu-check`: everything about the GPU path that only a GPU can show, in one table and one JSON file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eulernet_build.gpu import Gpu
    from eulernet_build.gpu_check.judge import Row


@click.command("gpu-check")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/gpu_check.json")
)
@click.option("--library", type=click.Path(dir_okay=False, path_type=Path), help="out/plugins/libeulernet_kernels.so.")
@click.option("--plugin", type=click.Path(dir_okay=False, path_type=Path), help="out/plugins/libeulernet_plugins.so.")
@click.option(
    "--engines", type=click.Path(file_okay=False, path_type=Path), default=Path("out/engines"), help="For plans."
)
@click.option("--skip", multiple=True, type=click.Choice(["kernels", "sanitizer", "speed", "engines"]))
def gpu_check(json_path: Path, library: Path | None, plugin: Path | None, engines: Path, skip: tuple[str, ...]) -> None:
    """Check the CUDA kernels, and TensorRT's plans where TensorRT is, on this machine's NVIDIA GPU.

    Kernels against a float64 reference, under compute-sanitizer, and timed against the GPU's copy bandwidth, torch
    eager and torch.compile; plans built, compared with ONNX Runtime by polygraphy, and timed.

    \b
    Exit status: 0 nothing failed, 1 something did, or there is no GPU, no CUDA build of torch, or no kernel library.
    """
    from rich.console import Console

    from eulernet_build.engine import EngineError
    from eulernet_build.face_models.fetch import FetchError
    from eulernet_build.gpu import NoGpuError, find_gpu
    from eulernet_build.gpu_check import report
    from eulernet_build.gpu_check.kernels import LIBRARY, KernelError
    from eulernet_build.repository import RepositoryError, checkout

    try:
        gpu = find_gpu()
        root = checkout()
        machine = describe(gpu)
        parts = run_parts(root, gpu, library or root / LIBRARY, plugin, engines, set(skip))
        rows = []
        for row in parts:
            rows.append(row)
            click.echo(f"{row.outcome:8} {row.part}: {row.name}", err=True)
    except (NoGpuError, KernelError, EngineError, FetchError, RepositoryError) as error:
        raise click.ClickException(str(error)) from error
    Console().print(report.table(rows))
    report.write_json(json_path, machine, rows)
    click.echo(f"{gpu.name}: {report.summary(rows)}; {json_path}")
    sys.exit(1 if report.failed(rows) else 0)


def describe(gpu: "Gpu") -> dict[str, Any]:
    """The machine, for the report. Raises: NoGpuError where torch can't use the GPU."""
    from dataclasses import asdict

    import torch

    from eulernet_build.gpu import NoGpuError

    if not torch.cuda.is_available():
        raise NoGpuError(
            f"{gpu.name} is here, but torch {torch.__version__} can't use it: install torch's CUDA build, or run this "
            "in the container nvcr.io/nvidia/pytorch (docs/gpu.md)"
        )
    return {**asdict(gpu), "torch": torch.__version__, "torch_cuda": torch.version.cuda}


def run_parts(root: Path, gpu: "Gpu", library: Path, plugin: Path | None, out: Path, skip: set[str]) -> "Iterator[Row]":
    """The rows of every part that is not skipped. Raises: KernelError where the kernel library can't be loaded."""
    import torch

    from eulernet_build.engine import PLUGIN_LIBRARY
    from eulernet_build.gpu_check import cases, correctness, sanitizer, speed
    from eulernet_build.gpu_check.kernels import Kernels

    kernels = Kernels(library)

    def implementation(case: cases.Case, given: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        kernels.run(case, given, outputs, torch.cuda.current_stream().cuda_stream)

    if "kernels" not in skip:
        yield from correctness.check_cases(implementation, cases.checked_cases(), "cuda")
    if "sanitizer" not in skip:
        yield from sanitizer.check(library)
    if "speed" not in skip:
        yield from speed.time_cases(implementation, cases.timed_cases(), gpu.l2_bytes)
    if "engines" not in skip:
        from eulernet_build.gpu_check import engines  # what plans take is more than what kernels take

        yield from engines.check_engines(root / "model_repository", out, plugin or root / PLUGIN_LIBRARY)
