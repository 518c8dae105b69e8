# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.peers`: measures this project's server beside its peers and renders a page."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from benchmarks import pages
from benchmarks.pages import FOLDER, say
from benchmarks.peers.bench import TOLERANCE, Bench, Options, Section
from benchmarks.peers.bench_clips import demo_videos, parse_size
from benchmarks.peers.contest import WAYS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.report import document, markdown, surroundings
from benchmarks.peers.ways import Way
from eulernet_core.whole_files import write_whole_text
from eulernet_serving.cpu_repository import RepositoryError, assemble
from eulernet_serving.embedded_server import ServerError
from eulernet_serving.face_models.wheel_files import FetchError
from eulernet_serving.triton_wheel import TritonMissingError


@click.command()
@click.option("--out", type=FOLDER, default=Path("out/bench"), show_default=True)
@click.option("--docs", type=FOLDER, help="Folder for a copy of the page, peers.md.")
@click.option("--frames", default="640x480,1920x1080", show_default=True, help="Frame sizes.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5), default=10.0, show_default=True, help="Measured seconds of a load."
)
@click.option(
    "--warm-up-s", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds of load before them."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Loads of each way.")
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Clips in progress.")
@click.option("--only", default="a,b,c,d,e", show_default=True, help="Ways to measure.")
@click.option(
    "--tune/--no-tune", default=True, show_default=True, help="Try all settings of a way and measure the best."
)
@click.option(
    "--tolerance", default=TOLERANCE, show_default=True, help="Allowed difference of LIVENESS between the ways."
)
@click.option("--clips", "most_clips", type=click.IntRange(min=1), help="Clips of each video. [default: all]")
@click.option(
    "--videos",
    type=FOLDER,
    default=Path("out/demo/clips"),
    show_default=True,
    help="Folder of the demo videos; rendered if missing.",
)
def main(
    out: Path,
    docs: Path | None,
    frames: str,
    seconds: float,
    warm_up_s: float,
    rounds: int,
    concurrency: int,
    only: str,
    tune: bool,
    tolerance: float,
    most_clips: int | None,
    videos: Path,
) -> None:
    """Measure (a) FastAPI, (b) LitServe, (c) the clip call, (d) sequences and (e) no server, round by round.

    \b
    Exit status: 0 measured, targets met or not; 1 not measured, or scores that differ.
    """
    # Treated like Ctrl-C, so that every server is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = Options(seconds, warm_up_s, rounds, concurrency, tune, tolerance, most_clips)
    try:
        sizes = [parse_size(size) for size in frames.split(",")]
        ways, left_out = chosen_ways(only)
        repository = assemble(out / "model_repository")
        around = surroundings(repository, options, left_out)
        bench = Bench(repository, demo_videos(videos), out, ways, options)
        sections: list[Section] = []
        for size in sizes:
            sections.append(bench.section(*size))
            pages.write_json(document(around, sections), out / "results.json")
            write_whole_text(out / "peers.md", markdown(around, sections))
    except (BenchError, ServerError, TritonMissingError, RepositoryError, FetchError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(markdown(around, sections))
    say(f"{out / 'results.json'}, {out / 'peers.md'}")
    if docs is not None:
        pages.publish([out / "peers.md"], docs)


def chosen_ways(only: str) -> tuple[list[Way], list[str]]:
    """Ways of `a,b,…` that can run here, and a line of text for each other one. Raises: BenchError."""
    keys = only.split(",")
    unknown = [key for key in keys if key not in {way.key for way in WAYS}]
    if unknown:
        raise BenchError(f"--only {only}: {unknown[0]!r} is not one of {','.join(way.key for way in WAYS)}")
    asked = [way for way in WAYS if way.key in keys]
    left_out = [f"({way.key}) {way.title}: {way.missing()}" for way in asked if way.missing()]
    for line in left_out:
        say(f"left out: {line}")
    ways = [way for way in asked if not way.missing()]
    if not ways:
        raise BenchError(f"--only {only}: none of them can run here; {left_out[0]}")
    return ways, left_out


if __name__ == "__main__":
    main()
