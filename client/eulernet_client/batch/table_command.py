# SPDX-License-Identifier: Apache-2.0
"""`eulernet score --out`: the batch with a progress bar, its summary and its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from eulernet_client.aio import AsyncClient
from eulernet_client.batch.archive_run import Summary, score_batch
from eulernet_client.batch.pipeline import Settings
from eulernet_client.batch.progress import BatchProgress
from eulernet_client.batch.score_table import check_table
from eulernet_client.errors import EulerNetError, TableError
from eulernet_client.sources import find_sources
from eulernet_core.weights_label import weights_warning

CONCURRENCY = 8  # clips in flight for each server


def score_to_table(
    paths: Sequence[str],
    out: Path,
    given: Mapping[str, int | None],
    as_json: bool,
    client: AsyncClient,
) -> None:
    """Runs the command.

    Args:
        paths: files and folders of the command line.
        out: path of the table.
        given: fields of Settings; None for the default.
        as_json: print the summary as JSON.
        client: a client, opened here.
    """
    from rich.console import Console

    try:
        check_table(out)
    except TableError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**{"concurrency": CONCURRENCY * len(client.urls), **chosen})
    sources = [source for path in paths for source in find_sources(path)]
    try:
        with BatchProgress(Console(stderr=True)) as progress:
            summary = asyncio.run(_score(client, sources, out, settings, progress))
    except EulerNetError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; the scores so far are kept: start again to continue") from None
    click.echo(json.dumps(summary.to_dict(), indent=2) if as_json else summary_text(summary))
    if summary.not_scored:
        sys.exit(1)


async def _score(
    client: AsyncClient, sources: Sequence[Path], out: Path, settings: Settings, progress: BatchProgress
) -> Summary:
    async with client:
        return await score_batch(client, sources, out, settings, progress)


def summary_text(summary: Summary) -> str:
    """The summary as a few lines of text."""
    warning = weights_warning(summary.weights)
    lines = [f"weights: {summary.weights}" + (f" ({warning})" if warning else "")]
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
