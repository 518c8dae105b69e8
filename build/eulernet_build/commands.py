"""`eulernet serve`, `repository` and `export`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eulernet_build.server import EmbeddedServer

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
    """From its end on, signals are ignored: they must not cut the stopping short."""
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--repository", type=DIRECTORY, help="A complete repository; put together under out/ by default.")
@click.option("--http-port", default=8000, show_default=True, help="HTTP port on loopback; 0 takes a free one.")
@click.option("--grpc-port", default=8001, show_default=True, help="gRPC port on loopback; 0 takes a free one.")
@click.option(
    "--metrics-port", default=8002, show_default=True, help="Prometheus port on loopback; 0 takes a free one."
)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), default="out/server.log", show_default=True)
@click.option("--ready-timeout-s", default=120.0, show_default=True, help="Give up when no inference answers by then.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def serve(
    repository: Path | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    log: Path,
    ready_timeout_s: float,
    command: tuple[str, ...],
) -> None:
    """Run the embedded Triton server until Ctrl-C or SIGTERM, or for as long as COMMAND runs.

    COMMAND finds the server's gRPC address in EULERNET_URL; its exit status becomes this command's.

    \b
    Exit status: 0 stopped on request, 1 the server could not be started or ended by itself, else COMMAND's.
    """
    from eulernet_build.face_models.fetch import FetchError
    from eulernet_build.repository import RepositoryError, assemble
    from eulernet_build.server import EmbeddedServer, Ports, ServerError
    from eulernet_build.triton import TritonMissingError

    status = 0
    try:
        with _signals_stop():
            repository = repository or assemble(Path("out/model_repository"))
            ports = Ports(http_port, grpc_port, metrics_port)
            with EmbeddedServer(repository, ports, log) as server, _deaf_afterwards():
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
    except (ServerError, TritonMissingError, RepositoryError, FetchError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(status)


def _watch(server: "EmbeddedServer") -> int:
    while True:
        server.check_running()
        time.sleep(POLL_S)


def _run(server: "EmbeddedServer", command: tuple[str, ...]) -> int:
    """Runs COMMAND beside the server; neither outlives the other."""
    from eulernet_build.server import die_with_parent

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
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """At its end the process is no more: asked to go, and made to where it does not."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(COMMAND_EXIT_S)
            process.kill()
        process.wait()


@click.command()
@click.option("--target", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--out", type=DIRECTORY, help="out/model_repository or out/gpu_repository by default.")
@click.option("--engines", type=DIRECTORY, default="out/engines", show_default=True, help="For gpu: the plans.")
@click.option("--plugins", type=DIRECTORY, default="out/plugins", show_default=True, help="For gpu: their libraries.")
@click.option("--precision", help="For gpu, where there are plans of several: fp32, fp16, bf16 or int8.")
@click.option("--tensorrt", help="For gpu, where there are plans of several: the version, such as 10.13.3.9.")
@click.option("--node-path", help="For gpu: where the node sees the folder, for the printed command.")
@click.option("--verify", type=DIRECTORY, help="Look at an assembled folder instead of making one.")
def repository(
    target: str,
    out: Path | None,
    engines: Path,
    plugins: Path,
    precision: str | None,
    tensorrt: str | None,
    node_path: str | None,
    verify: Path | None,
) -> None:
    """Put together what the embedded server (cpu) or a GPU node's Triton (gpu) loads; print the command that loads it.

    \b
    Exit status: 0 done or well, 1 something is missing, or a verified file is missing, changed or does not fit.
    """
    from eulernet_build import assemble
    from eulernet_build.face_models.fetch import FetchError
    from eulernet_build.manifest import ManifestError, faults, read_manifest
    from eulernet_build.plans import PlanError
    from eulernet_build.repository import RepositoryError

    try:
        if verify is not None:
            manifest = read_manifest(verify)
            found = faults(verify, manifest)
            for fault in found:
                click.echo(fault, err=True)
            click.echo(f"{verify}: {len(found)} faults in {len(manifest.files)} files, weights {manifest.weights}")
            sys.exit(1 if found else 0)
        out = out or Path("out/model_repository" if target == "cpu" else "out/gpu_repository")
        if target == "cpu":
            manifest = assemble.assemble_cpu(out)
        else:
            choice = assemble.Choice(precision, tensorrt)
            manifest = assemble.assemble_gpu(out, engines, plugins, choice, node_path=node_path)
        click.echo(f"{out}\n{manifest.command}")
    except (RepositoryError, FetchError, PlanError, ManifestError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.argument("weights", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repository", type=DIRECTORY, help="The model repository to write into; the clone's by default.")
def export(weights: Path | None, repository: Path | None) -> None:
    """Write the step graph and the clip graph (ONNX) that the model repository serves.

    WEIGHTS: weights.pt of `eulernet train`; the shipped ones by default.

    Both are held against PyTorch in ONNX Runtime and OpenVINO first; where one differs, nothing is written.
    """
    from eulernet_build.repository import SHIPPED_WEIGHTS, RepositoryError, checkout

    try:
        from eulernet.learning.checkpoint import CheckpointError

        from eulernet_build.export import ParityError, export_checkpoint
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install -c constraints.txt -e '.[build]'"
        ) from None
    try:
        repository = repository or checkout() / "model_repository"
        label, worst = export_checkpoint(weights or checkout() / SHIPPED_WEIGHTS, repository)
    except (RepositoryError, CheckpointError, ParityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{repository}: weights {label}; PyTorch, ONNX Runtime and OpenVINO agree to {worst:.1e}")
