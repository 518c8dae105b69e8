# SPDX-License-Identifier: Apache-2.0
"""`eulernet loadtest`. Imports click only; a run loads the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.command_options import SECONDS, SERVER_OPTIONS, server_options
from eulernet_core.limits import MAX_CHUNK_FRAMES
from eulernet_loadtest.load_options import MODES, MOST_FRAMES, VIDEOS, numbers_option, out_option, run_options

if TYPE_CHECKING:
    from eulernet_loadtest.plan import Plan

DEFAULT_FPS = 10.0  # every 3rd frame of a camera's 30
MOST_STREAMS = 1024  # sequence slots of the shipped model repository


@click.command()
@VIDEOS
@server_options(timeout_s=10.0)
@click.option("--mode", type=MODES, default="streams", show_default=True, help="Streams of frames, or clip calls.")
@numbers_option("--concurrency", kind=int, text="Closed loop: streams or clip calls in progress. [default: 1]")
@numbers_option("--rate", "rates", kind=float, text="Open loop: streams or clips that start each second.")
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="Spacing of the open loop's arrivals.",
)
@click.option(
    "--fps",
    type=SECONDS,
    help="Frame rate of a stream; without it a frame follows the last frame's answer. [default with --rate: 10]",
)
@click.option("--stream-frames", type=click.IntRange(min=1), help="Frames of a stream. [default: all of its source]")
@click.option(
    "--chunk-frames",
    type=click.IntRange(min=1, max=MAX_CHUNK_FRAMES),
    default=1,
    show_default=True,
    help="Frames of a stream in one request, for a closed loop without --fps.",
)
@click.option(
    "--frames-in-flight",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Most frames of a stream without an answer; those that wait share a request.",
)
@run_options(duration_s=10.0)
@click.option("--late-ms", type=SECONDS, help="Latency above which an answer is late. [default: one frame at --fps]")
@click.option("--seed", default=1, show_default=True, help="Seed of the arrivals.")
@click.option("--find-max-streams", is_flag=True, help="Search the largest number of streams that --p99-ms allows.")
@click.option(
    "--p99-ms", type=SECONDS, default=100.0, show_default=True, help="Largest p99 of a frame that the search accepts."
)
@MOST_FRAMES
@out_option("out/loadtest", "Folder for report.html, report.json and report.csv.")
def loadtest(
    paths: Sequence[str], most_frames: int, find_max_streams: bool, p99_ms: float, out: Path, **given: Any
) -> None:
    """Measure throughput and latency of a server under realistic traffic.

    VIDEO: videos, or folders of JPEGs; every 3rd frame is sent. Latency counts from the scheduled send; the report also
    shows it from the actual send. No request is retried.

    \b
    Closed loop:  --concurrency 1,4,16         streams, or clip calls with --mode clips
    Recordings:   --chunk-frames 4             several frames of a stream in each request
    Cameras:      --concurrency 16 --fps 10    a frame every 100 ms from each stream
    Pipelined:    --fps 10 --frames-in-flight 8   a frame does not wait for the answers before it
    Open loop:    --rate 5 [--fps 10]          arrivals do not wait for answers
    Search:       --find-max-streams --p99-ms 100 --fps 10

    Exit status: 0 measured, 1 nothing was scored or the search found nothing, 2 wrong usage.
    """
    server = {name: given.pop(name) for name in SERVER_OPTIONS}
    plans = _plans(find_max_streams, **given)
    from eulernet_loadtest.load_session import LoadSession, command_errors

    with command_errors():
        session = LoadSession("loadtest", paths, most_frames, **server)
        if given["chunk_frames"] > 1 and (single := session.runner.single_frame_servers()):
            raise click.UsageError(
                f"--chunk-frames: {', '.join(single)} takes one frame of a stream in a request; leave it out"
            )
        largest = ""
        if find_max_streams:
            found, runs = session.runner.find_max_streams(plans[0], p99_ms, MOST_STREAMS)
            largest = f"{found} streams at {plans[0].fps:g} fps hold with a p99 of at most {p99_ms:g} ms a frame"
        else:
            runs = session.runner.run(plans)
        session.finish(runs, out, largest)
    good = [run for run in runs if run.throughput_fps > 0 and run.holds is not False]
    if len(good) < (1 if find_max_streams else len(runs)):
        sys.exit(1)


def _plans(
    find_max_streams: bool,
    mode: str,
    concurrency: Sequence[int] | None,
    rates: Sequence[float] | None,
    arrivals: str,
    fps: float | None,
    late_ms: float | None,
    **rest: Any,
) -> list[Plan]:
    """The runs that the options select."""
    from eulernet_loadtest.plan import Arrivals, Mode, Plan

    if concurrency and rates:
        raise click.UsageError("--concurrency is a closed loop, --rate an open loop: give one of them")
    if mode == "clips" and (fps is not None or rest["stream_frames"] is not None or find_max_streams):
        raise click.UsageError("--fps, --stream-frames and --find-max-streams apply to streams: drop --mode clips")
    if rest["chunk_frames"] > 1 and (mode == "clips" or fps is not None or rates or find_max_streams):
        raise click.UsageError("--chunk-frames needs a closed loop of streams: drop --mode clips, --fps, --rate")
    if rest["frames_in_flight"] > 1 and (mode == "clips" or rest["chunk_frames"] > 1):
        raise click.UsageError("--frames-in-flight needs streams of single frames: drop --mode clips, --chunk-frames")
    if find_max_streams and (rates or fps is None or len(concurrency or (1,)) != 1):
        raise click.UsageError("--find-max-streams needs --fps, no --rate, and at most one --concurrency, its start")
    loads: list[dict[str, Any]] = [{"rate_hz": rate} for rate in rates or ()]
    loads = loads or [{"concurrency": number} for number in concurrency or (1,)]
    if rates and mode == "streams" and fps is None:
        fps = DEFAULT_FPS
    late_s = None if late_ms is None else late_ms / 1000
    return [
        Plan(mode=Mode(mode), arrivals=Arrivals(arrivals), fps=fps, late_s=late_s, **load, **rest) for load in loads
    ]
