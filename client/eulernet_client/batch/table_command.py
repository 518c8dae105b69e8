# SPDX-License-Identifier: Apache-2.0
"""`eulernet score --out`: the batch with a progress bar, its summary and its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from eulernet_client.aio import AsyncClient
from eulernet_client.batch.archive_run import (
    EngineMaker,
    Summary,
    journal_path,
    local_engine,
    passed_over_path,
    score_batch,
)
from eulernet_client.batch.pipeline import Settings
from eulernet_client.batch.progress import BatchProgress
from eulernet_client.batch.score_table import check_table
from eulernet_client.errors import EulerNetError, RayClusterError, TableError
from eulernet_client.source_search import PassedOver, passed_over_lines, reason_counts, search_sources
from eulernet_client.terminal_output import PatientConsole, output_errors, shown
from eulernet_core.weights_label import weights_warning
from eulernet_core.whole_files import write_whole_text

CONCURRENCY = 8  # clips in flight for each server


def score_to_table(
    paths: Sequence[str],
    out: Path,
    given: Mapping[str, Any],
    as_json: bool,
    client: AsyncClient,
    ray: tuple[str | None] | None = None,
) -> None:
    """Runs the command.

    Args:
        paths: files and folders of the command line.
        out: path of the table.
        given: fields of Settings; None for the default.
        as_json: print the summary as JSON.
        client: a client, opened here.
        ray: the value of --ray-address; None without --ray.
    """
    try:
        check_table(out)
    except TableError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    engine = local_engine if ray is None else _on_ray(ray[0], given.get("jobs"))
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**{"concurrency": CONCURRENCY * len(client.urls), **chosen})
    found = search_sources(*paths)
    try:
        # Ray prints about dead workers on the standard output, which is for the summary.
        quiet = nullcontext() if ray is None else redirect_stdout(sys.stderr)
        with BatchProgress(PatientConsole(stderr=True)) as progress, quiet:
            summary = asyncio.run(_score(client, found.sources, out, settings, progress, engine))
    except EulerNetError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; the scores so far are kept: start again to continue") from None
    passed_over = _passed_over(found.passed_over, out)
    summary.passed_over = reason_counts(passed_over)
    with output_errors():
        if as_json:
            click.echo(json.dumps(summary.to_dict(), indent=2))
        else:
            click.echo("\n".join([summary_text(summary), *passed_over_text(passed_over, out)]))
    if summary.not_scored:
        sys.exit(1)


async def _score(
    client: AsyncClient,
    sources: Sequence[Path],
    out: Path,
    settings: Settings,
    progress: BatchProgress,
    engine: EngineMaker,
) -> Summary:
    async with client:
        return await score_batch(client, sources, out, settings, progress, engine)


def _on_ray(address: str | None, workers: int | None) -> EngineMaker:
    from eulernet_client.batch.ray_engine import ray_engine

    try:
        return ray_engine(address, workers)
    except RayClusterError as error:
        raise click.BadParameter(str(error), param_hint="--ray") from error


def _passed_over(passed_over: Sequence[PassedOver], out: Path) -> list[PassedOver]:
    """What has no row, without the files of the table itself. Writes the list beside the table, if there is any."""
    own = {path.absolute() for path in (out, journal_path(out), passed_over_path(out))}
    others = [each for each in passed_over if each.path.absolute() not in own]
    path = passed_over_path(out)
    if others:
        write_whole_text(path, "".join(f"{json.dumps(each.to_dict())}\n" for each in others))
    else:
        path.unlink(missing_ok=True)
    return others


def passed_over_text(passed_over: Sequence[PassedOver], out: Path) -> list[str]:
    """What has no row in the table, as lines of text."""
    lines = passed_over_lines(passed_over)
    return [*lines, f"every name: {passed_over_path(out)}"] if lines else []


def summary_text(summary: Summary) -> str:
    """The summary as a few lines of text."""
    warning = weights_warning(summary.weights)
    weights = f"weights: {shown(summary.weights)} ({shown(summary.identity)})"
    lines = [f"{weights}: {warning}" if warning else weights]
    total = summary.live + summary.attack + summary.not_scored
    lines.append(
        f"{summary.out}: {total:,} rows: {summary.live:,} live, {summary.attack:,} attack, "
        f"{summary.not_scored:,} not scored"
    )
    if summary.errors:
        lines.append("not scored: " + ", ".join(f"{count:,} {kind}" for kind, count in summary.errors.most_common()))
    if summary.scored_now:
        lines.append(
            f"this run: {summary.scored_now:,} sources in {summary.seconds:.1f} s, "
            f"{summary.sources_per_s:.1f} sources/s, {summary.frames_per_s:.1f} frames/s"
        )
    else:
        lines.append("this run: nothing new to score")
    return "\n".join(lines)
