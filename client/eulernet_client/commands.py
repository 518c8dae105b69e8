"""`eulernet score` and `eulernet status`. Imports click only: what does the work is loaded when a command runs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from eulernet_client._result import ClipResult
    from eulernet_client.client import Client
    from eulernet_client.errors import EulerNetError
    from eulernet_client.report import Report

    Row = tuple[str, ClipResult | EulerNetError]


def _headers(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for value, (key, equals, _) in zip(values, pairs, strict=True):
        if not equals or not key:
            raise click.BadParameter(f"{value!r}: give NAME=VALUE")
    return {key: value for key, _, value in pairs}


def _server_options(timeout_s: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say how to reach the server."""
    options = [
        click.option(
            "--url",
            "urls",
            multiple=True,
            default=["localhost:8001"],
            show_default=True,
            envvar="EULERNET_URL",
            metavar="HOST:PORT",
            help="gRPC address of the server; give it again for more servers.",
        ),
        click.option(
            "--timeout-s",
            type=click.FloatRange(min=0, min_open=True),
            default=timeout_s,
            show_default=True,
            help="Seconds for one call, retries included.",
        ),
        click.option("--tls", is_flag=True, help="Speak TLS, trusting what the system trusts."),
        click.option("--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Speak TLS, trusting this PEM."),
        click.option(
            "--header", "headers", multiple=True, callback=_headers, metavar="NAME=VALUE", help="gRPC header to send."
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _client(**server: Any) -> Client:
    client: Client = _connect("Client", **server)
    return client


def _connect(
    kind: str, urls: Sequence[str], timeout_s: float, tls: bool, tls_ca: str | None, headers: dict[str, str]
) -> Any:
    """A Client or an AsyncClient of what the options of `_server_options` say."""
    # gRPC's own notes on every lost connection stay out of the terminal; what matters of them is in the errors.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import eulernet_client
    from eulernet_client import Tls

    try:
        return getattr(eulernet_client, kind)(
            urls, timeout_s=timeout_s, tls=Tls(root_certificates=tls_ca) if tls or tls_ca else None, headers=headers
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE_OR_FOLDER...")
@_server_options(timeout_s=30.0)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--report", type=click.Path(dir_okay=False, writable=True), help="Write an HTML report with pictures.")
@click.option(
    "--clips", type=click.IntRange(min=1), default=1, show_default=True, help="Clips to take from each source, evenly."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a table instead, a row a source: .parquet, .csv or .jsonl. Started again, it goes on where it was.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="With --out: sources to read at once. [one a core]")
@click.option(
    "--concurrency", type=click.IntRange(min=1), help="With --out: clips to have at the servers at once. [8 a server]"
)
def score(
    paths: Sequence[str],
    as_json: bool,
    report: str | None,
    clips: int,
    out: Path | None,
    jobs: int | None,
    concurrency: int | None,
    **server: Any,
) -> None:
    """Score videos and folders: live or attack.

    A folder stands for the videos in it; a folder of JPEGs (and no video) is one clip, its files being the frames;
    folders inside it likewise.

    With --out, thousands of them: memory is bounded, what can't be scored is a row like any other, and a run that was
    killed goes on when it is started again. FILE.journal.jsonl beside the table remembers what is scored, so that a
    later run scores only what is new or changed. --json then prints the run's figures.

    Exit status: 0 all scored, 1 something was not, 2 wrong usage.
    """
    if out is not None:
        if report is not None:
            raise click.UsageError("--report holds every picture in memory: not with --out")
        given = {"clips": clips, "jobs": jobs, "concurrency": concurrency}
        client = _connect("AsyncClient", **server)
        from eulernet_client.batch.command import score_to_table

        score_to_table(paths, out, given, as_json, client)
        return
    if jobs is not None or concurrency is not None:
        raise click.UsageError("--jobs and --concurrency are for --out")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise click.BadParameter(f"{report}: its folder does not exist; make it first", param_hint="--report")
    from eulernet_client._media import find_sources

    sources = [source for path in paths for source in find_sources(path)]
    with _client(**server) as client:
        drawn = None
        if report is not None:
            from eulernet_client.report import Report

            drawn = Report()
        version, rows = _score_all(client, sources, clips, drawn)
        weights = _weights(rows) or client.weights()
    if as_json:
        click.echo(json.dumps(_as_json(weights, rows), indent=2, allow_nan=False))
    else:
        _print(weights, rows)
    if drawn is not None and report is not None:
        try:
            drawn.write(report, weights=weights, server_version=version)
        except OSError as error:
            raise click.ClickException(
                f"{report}: cannot be written ({error.strerror}); choose another file"
            ) from error
        click.echo(f"report: {report}", err=True)
    if any(isinstance(row, Exception) for _, row in rows):
        sys.exit(1)


def _score_all(
    client: Client, sources: Sequence[Path], clips: int, report: Report | None
) -> tuple[str, list[tuple[str, ClipResult | EulerNetError]]]:
    """The server's version, and a result or an error for each source, in order."""
    from eulernet_client.errors import (
        EulerNetError,
        RequestTimeoutError,
        ServerBusyError,
        ServerError,
        ServerUnavailableError,
    )

    # Asked first and once, so that a wrong address is told at once and not after every source's retries.
    version, down = "unknown", None
    try:
        version = client.server_version()
    except (ServerUnavailableError, RequestTimeoutError) as error:
        down = error
    except ServerError:
        pass  # it answers, but keeps its version to itself
    rows: list[tuple[str, ClipResult | EulerNetError]] = []
    for source in _progress(sources):
        row = _score_one(client, source, clips, report is not None, down)
        if isinstance(row, ServerUnavailableError) and not isinstance(row, ServerBusyError):
            down = row  # it has been tried for timeout_s: don't try as long for each of the others
        if report is not None:
            report.add_error(str(source), row) if isinstance(row, EulerNetError) else report.add(row)
        rows.append((str(source), row))
    return version, rows


def _score_one(
    client: Client, source: Path, clips: int, keep_jpegs: bool, down: EulerNetError | None
) -> ClipResult | EulerNetError:
    from eulernet_client._media import iter_clips
    from eulernet_client.errors import EulerNetError

    try:
        if down is None:
            result: ClipResult = client.score(source, clips=clips, keep_jpegs=keep_jpegs)
            return result
        next(iter_clips(source))  # what is wrong with the file can be told without a server
        return down
    except EulerNetError as error:
        return error


def _progress(sources: Sequence[Path]) -> Any:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal or len(sources) < 2:
        return sources
    return track(sources, description="scoring", console=console, transient=True)


def _weights(rows: Sequence[Row]) -> str:
    labels = sorted({row.weights for _, row in rows if not isinstance(row, Exception)})
    return ", ".join(labels)


def _as_json(weights: str, rows: Sequence[Row]) -> dict[str, Any]:
    clips = [
        {"path": path, "error": row.to_dict()} if isinstance(row, Exception) else row.to_dict() for path, row in rows
    ]
    return {"weights": weights, "clips": clips}


def _print(weights: str, rows: Sequence[Row]) -> None:
    from rich.console import Console

    from eulernet_client._contract import weights_warning

    console = Console(highlight=False)
    console.print(f"weights: {weights}", style="yellow" if weights_warning(weights) else None, markup=False)
    console.print(_table(rows, console))


def _shown(text: str) -> str:
    """A text that may hold a file's name, which can hold anything: without control characters and broken UTF-8."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _table(rows: Sequence[Row], console: Console) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("clip", overflow="fold", ratio=1 if console.width < 100 else None)
    table.add_column("verdict", no_wrap=True)
    for heading in ("liveness", "frames", "ms/frame"):
        table.add_column(heading, justify="right", no_wrap=True)
    for path, row in rows:
        name = Text(_shown(path))
        if isinstance(row, Exception):
            name.append("\n" + _shown(str(row).removeprefix(f"{path}: ")), style="red")
            table.add_row(name, Text("not scored", style="bold red"), "-", "-", "-")
            continue
        for warning in row.warnings:
            name.append("\n" + _shown(warning), style="yellow")
        verdict = Text(row.verdict, style="bold green" if row.live else "bold red")
        table.add_row(name, verdict, f"{row.liveness:.3f}", str(row.frames_used), f"{row.ms_per_frame:.1f}")
    return table


@click.command()
@_server_options(timeout_s=10.0)
@click.option("--wait-s", type=click.FloatRange(min=0), default=0, help="Keep asking for so long until all is well.")
def status(urls: Sequence[str], wait_s: float, **server: Any) -> None:
    """Ask whether the server is well, with a real inference through both ensembles.

    Exit status: 0 all servers are well, 1 one is not, 2 wrong usage.
    """
    failed = False
    deadline = time.monotonic() + wait_s
    for url in urls:
        with _client(urls=[url], **server) as client:
            failed |= not _status_of(client, url, deadline)
    if failed:
        sys.exit(1)


def _status_of(client: Client, url: str, deadline: float) -> bool:
    from eulernet_client.errors import EulerNetError

    while True:
        try:
            health = client.check()
        except EulerNetError as error:
            if time.monotonic() < deadline:
                time.sleep(0.5)
                continue
            click.echo(f"not healthy: {error}", err=True)
            return False
        click.echo(f"healthy: {url}")
        click.echo(f"  server   Triton {health.server_version}")
        click.echo(f"  models   {', '.join(health.models)} ready")
        click.echo(f"  weights  {health.weights}")
        click.echo(f"  clip     {1000 * health.clip_s:.1f} ms for 4 frames")
        click.echo(f"  stream   {1000 * health.stream_s:.1f} ms a frame")
        return True
