# SPDX-License-Identifier: Apache-2.0
"""`eulernet perf` and `eulernet perf-data`: Triton's perf_analyzer on this project's traffic. Imports click only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eulernet_client.command_options import SECONDS, SERVER_OPTIONS, server_options
from eulernet_loadtest.load_options import MODES, MOST_FRAMES, VIDEOS, numbers_option, out_option, run_options


@click.command("perf-data")
@VIDEOS
@click.option("--mode", type=MODES, default="streams", show_default=True, help="For sequences, or for the clip call.")
@MOST_FRAMES
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON file to write.")
def perf_data(paths: Sequence[str], mode: str, most_frames: int, out: Path) -> None:
    """Convert videos to the real-data JSON of Triton's perf_analyzer.

    A video becomes one sequence of its frames, every 3rd; with --mode clips, one request for each clip of four frames.
    """
    from eulernet_loadtest import perf_data as documents
    from eulernet_loadtest.load_session import command_errors, writable
    from eulernet_loadtest.plan import Mode
    from eulernet_loadtest.traffic import load

    chosen = Mode(mode)
    with command_errors():
        traffic = load(paths, most_frames)
    with writable(out):
        documents.write(out, traffic, chosen)
    click.echo(f"perf_analyzer -m {chosen.model} -i grpc -u HOST:8001 --input-data {out} --concurrency-range 1:16:5")


@click.command()
@VIDEOS
@server_options(
    timeout_s=10.0, several_urls=False, timeout_help="Seconds for one request of this project's load tester."
)
@click.option(
    "--mode", "modes", type=MODES, multiple=True, help="Call to measure; repeat it for both. [default: clips]"
)
@numbers_option("--concurrency", kind=int, text="Concurrency of each run.", default="1,2,4,8")
@run_options(duration_s=9.0)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs of each load; the medians are compared.",
)
@click.option(
    "--agree-percent",
    type=SECONDS,
    help="Fail if the throughput of the two tools differs by more than this at any load.",
)
@click.option(
    "--perf-analyzer",
    type=click.Path(path_type=Path),
    help="The perf_analyzer binary. [default: on PATH, beside this Python, or from a pinned tritonclient wheel]",
)
@MOST_FRAMES
@out_option("out/perf", "Folder for the report and for perf_analyzer's CSV files.")
def perf(
    paths: Sequence[str],
    modes: Sequence[str],
    concurrency: Sequence[int],
    rounds: int,
    agree_percent: float | None,
    perf_analyzer: Path | None,
    most_frames: int,
    out: Path,
    **given: Any,
) -> None:
    """Compare Triton's perf_analyzer with `eulernet loadtest`, by turns, on the same pictures and concurrency.

    perf_analyzer gets the headers and the token on its command line, which other users of this machine can read.

    Exit status: 0 measured, 1 a tool failed, nothing was scored or (with --agree-percent) the two disagree, 2 usage.
    """
    from eulernet_loadtest import perf_analyzer as tool
    from eulernet_loadtest.compare import agreement, by_turns
    from eulernet_loadtest.load_session import LoadSession, command_errors
    from eulernet_loadtest.plan import Mode, Plan

    server = {name: given.pop(name) for name in SERVER_OPTIONS}
    with command_errors():
        session = LoadSession("perf", paths, most_frames, **server)
        access = tool.access_arguments(server)
        binary = tool.find(perf_analyzer, Path("out/perf_analyzer"))
        click.echo(f"perf_analyzer: {binary}", err=True)
        plans = [
            Plan(mode=Mode(mode), concurrency=int(number), **given)
            for mode in modes or ("clips",)
            for number in concurrency
        ]
        runs = by_turns(session.runner, plans, rounds, binary, server["urls"][0], out, access)
        session.finish(runs, out)
    compared = agreement(runs)
    for line in compared.lines:
        click.echo(line)
    if any(run.throughput_fps == 0 for run in runs):
        raise click.ClickException("a run has no scored frame; see the report")
    if agree_percent is not None and abs(compared.worst_percent) > agree_percent:
        raise click.ClickException(f"the tools differ by more than {agree_percent:g} %; is the machine busy?")
