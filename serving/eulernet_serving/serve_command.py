# SPDX-License-Identifier: Apache-2.0
"""`eulernet serve`: the embedded Triton server under a supervisor, alone or for as long as another command runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet_core.own_command import own_command
from eulernet_serving.stop_signals import Stopped, StopSignals
from eulernet_serving.structured_logging import FORMAT_VARIABLE, FORMATS, LEVEL_VARIABLE, LEVELS

if TYPE_CHECKING:
    from eulernet_serving.supervisor import Supervisor

COMMAND_EXIT_S = 5.0
GAVE_UP = 3  # exit status
SHORTEST_STALL_S = 45.0  # when every slot is taken, a stream may wait for the idle time of 30 s
DIRECTORY = click.Path(file_okay=False, path_type=Path)
SECONDS = click.FloatRange(min=0)


def _check_host() -> None:
    from eulernet_serving.triton_wheel import TritonMissingError, check_host

    try:
        check_host()
    except TritonMissingError as error:
        raise click.ClickException(str(error)) from error


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--repository", type=DIRECTORY, help="A complete repository; assembled in a temporary folder by default.")
@click.option("--face-models", type=DIRECTORY, help="Folder of the face models, for a machine without a network.")
@click.option("--gpu", is_flag=True, help="Serve on this machine's NVIDIA GPU, without a container.")
@click.option("--one-stage", is_flag=True, help="Locate, crop and score in one process: faster, but less is shown.")
@click.option(
    "--precision",
    show_default="auto; with --gpu fp32",
    help="fp32, bf16, int8, or auto: int8 if its error is small and the processor has AVX2. With --gpu: fp32, or fp16, "
    "bf16, int8 if there are such plans.",
)
@click.option(
    "--engines",
    type=DIRECTORY,
    multiple=True,
    default=("out/engines", "out/engines_rtx"),
    show_default=True,
    help="For --gpu: folder of TensorRT plans, used if they fit; repeatable.",
)
@click.option(
    "--plugins", type=DIRECTORY, default="out/plugins", show_default=True, help="For --gpu: libraries of make plugin."
)
@click.option("--http-port", type=int, help="Open HTTP on loopback, closed by default; 0 takes a free port.")
@click.option("--grpc-port", default=8001, show_default=True, help="gRPC port on loopback; 0 takes a free one.")
@click.option(
    "--metrics-port", default=8002, show_default=True, help="Prometheus port on loopback; 0 takes a free one."
)
@click.option(
    "--health-port",
    default=8003,
    show_default=True,
    help="Port on loopback for /livez, /readyz and the supervisor's /metrics; 0 takes a free one.",
)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), default="out/server.log", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    envvar=LEVEL_VARIABLE,
    default="INFO",
    show_default=True,
    help="Of the stages' lines in the log; DEBUG has one for each answer.",
)
@click.option("--log-format", type=click.Choice(FORMATS), envvar=FORMAT_VARIABLE, default="text", show_default=True)
@click.option(
    "--ready-timeout-s",
    type=SECONDS,
    default=120.0,
    show_default=True,
    help="Give up, or start again, if no inference answers in time.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Give up at the next failure after so many restarts.",
)
@click.option(
    "--healthy-s",
    type=SECONDS,
    default=300.0,
    show_default=True,
    help="Forget earlier restarts after so many seconds of readiness.",
)
@click.option(
    "--stall-timeout-s",
    type=click.FloatRange(min=SHORTEST_STALL_S),
    default=60.0,
    show_default=True,
    help="Restart if a stage infers nothing for so long although requests wait; load alone never causes that.",
)
@click.option(
    "--drain-timeout-s",
    type=SECONDS,
    default=20.0,
    show_default=True,
    help="At a signal to stop, wait so long for open streams to end; 0 stops at once.",
)
@click.option(
    "--drain-min-s",
    type=SECONDS,
    default=0.0,
    show_default=True,
    help="Drain at least so long, for a balancer to see that /readyz answers 404.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def serve(
    repository: Path | None,
    face_models: Path | None,
    gpu: bool,
    one_stage: bool,
    precision: str | None,
    engines: tuple[Path, ...],
    plugins: Path,
    http_port: int | None,
    grpc_port: int,
    metrics_port: int,
    health_port: int,
    log: Path,
    log_level: str,
    log_format: str,
    ready_timeout_s: float,
    max_restarts: int,
    healthy_s: float,
    stall_timeout_s: float,
    drain_timeout_s: float,
    drain_min_s: float,
    command: tuple[str, ...],
) -> None:
    """Run the embedded Triton server until Ctrl-C or SIGTERM, or for as long as COMMAND runs.

    A supervisor starts the server again when it or one of its stages dies or hangs. A signal drains the server first:
    new streams are refused and open ones may end. A second signal stops at once, and so does the end of COMMAND.

    With --one-stage, a frame passes one stage instead of two, which saves processor time. The metrics then show no
    separate times for cropping and for the network, and a crash in one of them ends both.

    With --gpu, the log and the terminal say which runtime each network got and how faces are cropped.

    COMMAND finds the server's gRPC address in EULERNET_URL; its exit status becomes this command's.

    \b
    Exit status: 0 stopped on request, 1 the server could not be started, 3 it failed again after --max-restarts,
    else COMMAND's.
    """
    _check_host()  # names an unsuitable Python before an import fails on it
    from eulernet_serving.embedded_server import Ports, ServerError
    from eulernet_serving.supervision_policy import Limits
    from eulernet_serving.supervisor import GaveUpError, Supervisor
    from eulernet_serving.triton_wheel import TritonMissingError

    if gpu and repository is not None:
        raise click.UsageError("--gpu assembles its repository: leave out --repository, or --gpu with a gpu_pip one")
    if one_stage and (gpu or repository is not None):
        raise click.UsageError("--one-stage assembles a CPU's repository: leave out --gpu and --repository")
    os.environ |= {LEVEL_VARIABLE: log_level, FORMAT_VARIABLE: log_format}
    drain_timeout_s = 0.0 if command else drain_timeout_s  # without COMMAND nobody needs the server
    limits = Limits(max_restarts, healthy_s, ready_timeout_s, stall_timeout_s, drain_timeout_s, drain_min_s)
    ports = Ports(grpc_port, metrics_port, http_port, health_port)
    status = 0
    try:
        with StopSignals() as signals, contextlib.ExitStack() as stack:
            if repository is None:
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-repository-"))
                repository = Path(scratch) / "model_repository"
                if gpu:
                    _assemble_gpu(repository, engines, plugins, face_models, precision)
                else:
                    _assemble_cpu(repository, one_stage, face_models, precision)
            _begin_log(log)
            supervisor = stack.enter_context(Supervisor(repository, ports, log, limits))
            stack.callback(signals.count_only)  # nothing may interrupt the shutdown
            _wait_ready(supervisor)
            signals.count_only()
            status = _run(supervisor, signals, command)
            if signals.count:
                raise Stopped
    except Stopped:
        click.echo("stopped", err=True)
        status = 0
    except GaveUpError as error:
        click.echo(f"Error: {error}", err=True)
        status = GAVE_UP
    except (ServerError, TritonMissingError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(status)


def _assemble_cpu(out: Path, one_stage: bool, face_models: Path | None, precision: str | None) -> None:
    """Runs `eulernet repository`: what it imports takes 50 MB, which a supervisor would keep for good."""
    from eulernet_serving.child_launcher import launched
    from eulernet_serving.repository_manifest import CPU, CPU_ONE_STAGE

    options = {"--out": out, "--target": CPU_ONE_STAGE if one_stage else CPU}
    options |= {"--face-models": face_models} if face_models else {}
    options |= {"--precision": precision} if precision else {}
    words = [str(word) for option in options.items() for word in option]
    command = launched(own_command("repository", *words), private=False)
    # A session of its own: a key's interrupt is for this program, which then ends the other one.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    with _ended(process):
        if process.wait():
            sys.exit(1)  # the reason is on the terminal


def _assemble_gpu(
    out: Path, engines: tuple[Path, ...], plugins: Path, face_models: Path | None, precision: str | None
) -> None:
    """Raises: click.ClickException."""
    from eulernet_core.shipped import NotInThisInstallationError
    from eulernet_serving.cpu_precision import FP32
    from eulernet_serving.cpu_repository import RepositoryError
    from eulernet_serving.face_models.wheel_files import FetchError
    from eulernet_serving.gpu_pip_repository import GpuParts, assemble_gpu_pip
    from eulernet_serving.gpu_presence import GpuMissingError, check_gpu

    try:
        check_gpu()
        assemble_gpu_pip(out, GpuParts(engines, plugins, precision or FP32), face_models=face_models)
    except (GpuMissingError, RepositoryError, FetchError, NotInThisInstallationError) as error:
        raise click.ClickException(str(error)) from error


def _begin_log(log: Path) -> None:
    """Empties the log and sends the supervisor's lines there too."""
    from eulernet_serving.structured_logging import configure_supervisor_logging

    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        configure_supervisor_logging(log)
    except OSError as error:
        raise click.ClickException(f"{log}: {error.strerror}; choose another file with --log") from error


def _wait_ready(supervisor: Supervisor) -> None:
    started_s = time.monotonic()
    supervisor.wait_ready()
    ports = supervisor.ports
    http = f"HTTP {ports.http}, " if ports.http is not None else ""
    click.echo(
        f"ready after {time.monotonic() - started_s:.1f} s: gRPC {supervisor.url}, {http}metrics {ports.metrics}, "
        f"health {ports.health}, log {supervisor.log}",
        err=True,
    )
    for line in chosen_at_start(supervisor.log):
        click.echo(line, err=True)


def chosen_at_start(log: Path) -> list[str]:
    """What the stages of a GPU server said they chose, such as `eulernet_0: network by …`."""
    from eulernet_serving.gpu_presence import CHOSEN

    lines = log.read_text(errors="replace").splitlines()
    return [line.partition(CHOSEN)[2].partition('", "')[0] for line in lines if CHOSEN in line]


def _run(supervisor: Supervisor, signals: StopSignals, command: tuple[str, ...]) -> int:
    """Supervises until a signal, or runs COMMAND beside the server; COMMAND goes on over a restart of the server."""
    from eulernet_serving.child_launcher import launched

    if not command:
        supervisor.run(lambda: signals.count)
        return 0
    environment = {**os.environ, "EULERNET_URL": supervisor.url}
    if shutil.which(command[0]) is None:
        raise click.ClickException(f"{command[0]}: no such command, or not executable")
    process = subprocess.Popen(launched(command, private=False), env=environment)
    with _ended(process):
        supervisor.run(lambda: signals.count, lambda: process.poll() is not None, process.pid)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the process with the block: by SIGTERM, and by SIGKILL if it ignores that."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(COMMAND_EXIT_S)
            process.kill()
        process.wait()
