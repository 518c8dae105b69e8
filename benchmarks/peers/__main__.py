"""python -m benchmarks.peers: measures this project's server beside its peers, renders a page of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import click
from eulernet_build.face_models.fetch import FetchError
from eulernet_build.repository import RepositoryError, assemble, checkout
from eulernet_build.server import ServerError
from eulernet_build.triton import TritonMissingError

from benchmarks import pages
from benchmarks.peers.bench import TOLERANCE, Bench, Options, Section, say
from benchmarks.peers.contest import WAYS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.pictures import demo_videos, parse_size
from benchmarks.peers.report import document, markdown, surroundings
from benchmarks.peers.ways import Way

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--out", type=FOLDER, default=Path("out/bench"), show_default=True)
@click.option("--docs", type=FOLDER, help="Write the page there as well, as peers.md.")
@click.option("--frames", default="640x480,1920x1080", show_default=True, help="Frame sizes.")
@click.option("--seconds", type=click.FloatRange(min=0.5), default=10.0, show_default=True, help="Of one load.")
@click.option("--warm-up-s", type=click.FloatRange(min=0), default=2.0, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Clips at once.")
@click.option("--only", default="a,b,c,d,e", show_default=True, help="The ways to measure.")
@click.option("--tune/--no-tune", default=True, show_default=True, help="Try all settings of a way, keep its best.")
@click.option("--tolerance", default=TOLERANCE, show_default=True, help="Of LIVENESS, between the ways.")
@click.option("--clips", "most_clips", type=click.IntRange(min=1), help="Clips of each video; all by default.")
@click.option("--videos", type=FOLDER, default=Path("out/demo/clips"), show_default=True, help="Made if missing.")
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
    """Measure (a) FastAPI, (b) LitServe, (c) our clip call, (d) our sequences, (e) no server, round by round.

    \b
    Exit status: 0 measured, whatever came out, 1 not measured, or scores that differ.
    """
    # As Ctrl-C, so that every server is ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = Options(seconds, warm_up_s, rounds, concurrency, tune, tolerance, most_clips)
    try:
        sizes = [parse_size(size) for size in frames.split(",")]
        ways, left_out = chosen_ways(only)
        repository = assemble(out / "model_repository", face_models=checkout() / "out" / "face_models")
        around = surroundings(repository, options, left_out)
        bench = Bench(repository, demo_videos(videos), out, ways, options)
        sections: list[Section] = []
        for size in sizes:
            sections.append(bench.section(*size))
            text = json.dumps(document(around, sections), indent=1, allow_nan=False)
            (out / "results.json").write_text(text + "\n", encoding="utf-8")
            (out / "peers.md").write_text(markdown(around, sections), encoding="utf-8")
    except (BenchError, ServerError, TritonMissingError, RepositoryError, FetchError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(markdown(around, sections))
    say(f"{out / 'results.json'}, {out / 'peers.md'}")
    if docs is not None:
        pages.publish([out / "peers.md"], docs)


def chosen_ways(only: str) -> tuple[list[Way], list[str]]:
    """The ways of `a,b,…` that can run here, and those that can't, in words. Raises: BenchError."""
    keys = only.split(",")
    unknown = [key for key in keys if key not in {way.key for way in WAYS}]
    if unknown:
        raise BenchError(f"--only {only}: {unknown[0]!r} is none of {','.join(way.key for way in WAYS)}")
    asked = [way for way in WAYS if way.key in keys]
    left_out = [f"({way.key}) {way.title}: {way.missing()}" for way in asked if way.missing()]
    for line in left_out:
        say(f"left out: {line}")
    ways = [way for way in asked if not way.missing()]
    if not ways:
        raise BenchError(f"--only {only}: none of these can run here; {left_out[0]}")
    return ways, left_out


if __name__ == "__main__":
    main()
