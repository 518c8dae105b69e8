# SPDX-License-Identifier: Apache-2.0
"""`eulernet score`. Imports click only; the rest is loaded when the command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.command_options import connect, server_options

if TYPE_CHECKING:
    from eulernet_client._result import VideoResult
    from eulernet_client.client import Client
    from eulernet_client.errors import EulerNetError
    from eulernet_client.html_report import Report
    from eulernet_client.source_search import PassedOver

    Row = tuple[str, VideoResult | EulerNetError]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE_OR_FOLDER...")
@server_options(timeout_s=30.0)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--report", type=click.Path(dir_okay=False, writable=True), help="Write an HTML report with pictures.")
@click.option(
    "--clips", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of each source, spread evenly."
)
@click.option(
    "--at-keyframes",
    is_flag=True,
    help="Begin a video's clips at keyframes near their places, which takes less decoding. Other frames, other scores.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a table with one row a source: .parquet, .csv or .jsonl. An interrupted run continues.",
)
@click.option("--jobs", type=click.IntRange(min=1), show_default="one a core", help="With --out: sources read at once.")
@click.option(
    "--concurrency", type=click.IntRange(min=1), show_default="8 a server", help="With --out: clips in flight at once."
)
@click.option(
    "--ray", "on_ray", is_flag=True, help="With --out: read the sources on a Ray cluster. --jobs: most actors at once."
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    show_default="$RAY_ADDRESS, or auto",
    help="With --ray: host:port of the cluster's head; auto: the cluster of this machine; local: start Ray here.",
)
def score(
    paths: Sequence[str],
    as_json: bool,
    report: str | None,
    clips: int,
    at_keyframes: bool,
    out: Path | None,
    jobs: int | None,
    concurrency: int | None,
    on_ray: bool,
    ray_address: str | None,
    **server: Any,
) -> None:
    """Score videos and folders: live or attack.

    A folder stands for the videos in it, and for those in its subfolders. A folder with pictures and no video is one
    source: its files are the frames. Files and linked folders that are passed over are named after the table.

    With --out, archives of any size are scored into a table, with bounded memory. A source that can't be scored gets a
    row with its error. FILE.journal.jsonl beside the table records the scored sources: an interrupted run continues
    when it is started again, and a later run scores only new and changed sources. --json then prints the run's summary.
    With --ray, the workers of a Ray cluster read the sources, under the same paths; the table is written here.

    Exit status: 0 every source was scored, 1 a source was not, 2 wrong usage.
    """
    if ray_address is not None and not on_ray:
        raise click.UsageError("--ray-address needs --ray")
    if out is not None:
        if report is not None:
            raise click.UsageError("--report holds every picture in memory; give --out or --report")
        given = {"clips": clips, "at_keyframes": at_keyframes, "jobs": jobs, "concurrency": concurrency}
        client = connect("AsyncClient", **server)
        from eulernet_client.batch.table_command import score_to_table

        score_to_table(paths, out, given, as_json, client, ray=(ray_address,) if on_ray else None)
        return
    if jobs is not None or concurrency is not None or on_ray:
        raise click.UsageError("--jobs, --concurrency and --ray need --out")
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise click.BadParameter(f"{report}: its folder does not exist; make it first", param_hint="--report")
    _score_and_print(paths, as_json, report, {"clips": clips, "at_keyframes": at_keyframes}, server)


def _score_and_print(
    paths: Sequence[str], as_json: bool, report: str | None, placing: dict[str, Any], server: dict[str, Any]
) -> None:
    """The command without --out. `placing`: of the clips, for `Client.score`."""
    from eulernet_client.source_search import passed_over_lines, search_sources
    from eulernet_client.terminal_output import output_errors, print_results, shown

    found = search_sources(*paths)
    passed_over = [shown(line) for line in passed_over_lines(found.passed_over)]
    with connect("Client", **server) as client:
        drawn = None
        if report is not None:
            from eulernet_client.html_report import Report

            drawn = Report(passed_over)
        version, rows = _score_all(client, found.sources, placing, drawn)
        weights = _weights(rows) or client.weights()
    # The report first: a terminal that goes away must not cost it.
    failure = None if drawn is None or report is None else _written(drawn, report, weights, version)
    if as_json:
        with output_errors():
            click.echo(json.dumps(_as_json(weights, rows, found.passed_over), indent=2, allow_nan=False))
    else:
        print_results(weights, rows)
        for line in passed_over:
            click.echo(line, err=True)
    if failure is not None:
        raise failure
    if report is not None:
        click.echo(f"report: {shown(report)}", err=True)
    if any(isinstance(row, Exception) for _, row in rows):
        sys.exit(1)


def _written(drawn: Report, report: str, weights: str, version: str) -> click.ClickException | None:
    """Writes the report. Returns the error to show after the results, if it can't be written."""
    try:
        drawn.write(report, weights=weights, server_version=version)
    except OSError as error:
        return click.ClickException(f"{report}: cannot be written ({error.strerror}); choose another file")
    return None


def _score_all(
    client: Client, sources: Sequence[Path], placing: dict[str, Any], report: Report | None
) -> tuple[str, list[tuple[str, VideoResult | EulerNetError]]]:
    """The server's version, and a result or an error for each source, in order."""
    from eulernet_client.errors import EulerNetError, ServerBusyError, ServerUnavailableError

    version, down = _version(client)
    rows: list[tuple[str, VideoResult | EulerNetError]] = []
    for source in _progress(sources):
        row = _score_one(client, source, placing, report is not None, down)
        if isinstance(row, ServerUnavailableError) and not isinstance(row, ServerBusyError):
            down = row  # it was retried for timeout_s; the remaining sources don't wait as long
        if report is not None:
            report.add_error(str(source), row) if isinstance(row, EulerNetError) else report.add(row)
        rows.append((str(source), row))
    return version, rows


def _version(client: Client) -> tuple[str, EulerNetError | None]:
    """The server's version, and the error if no server answers: a wrong address then fails once, not per source."""
    from eulernet_client.errors import RequestTimeoutError, ServerError, ServerUnavailableError

    try:
        return client.server_version(), None
    except (ServerUnavailableError, RequestTimeoutError) as error:
        return "unknown", error
    except ServerError:
        return "unknown", None  # it answers, but refuses to report its version


def _score_one(
    client: Client, source: Path, placing: dict[str, Any], keep_jpegs: bool, down: EulerNetError | None
) -> VideoResult | EulerNetError:
    from eulernet_client.errors import EulerNetError
    from eulernet_client.sources import iter_clips

    try:
        if down is None:
            result: VideoResult = client.score(source, **placing, keep_jpegs=keep_jpegs)
            return result
        next(iter_clips(source))  # an error of the file takes precedence, and needs no server
        return down
    except EulerNetError as error:
        return error


def _progress(sources: Sequence[Path]) -> Any:
    from rich.progress import track

    from eulernet_client.terminal_output import PatientConsole

    console = PatientConsole(stderr=True)
    if not console.is_terminal or len(sources) < 2:
        return sources
    return track(sources, description="scoring", console=console, transient=True)


def _weights(rows: Sequence[Row]) -> str:
    labels = sorted({row.weights for _, row in rows if not isinstance(row, Exception)})
    return ", ".join(labels)


def _as_json(weights: str, rows: Sequence[Row], passed_over: Sequence[PassedOver] = ()) -> dict[str, Any]:
    clips = [
        {"path": path, "error": row.to_dict()} if isinstance(row, Exception) else row.to_dict() for path, row in rows
    ]
    return {"weights": weights, "clips": clips, "passed_over": [each.to_dict() for each in passed_over]}
