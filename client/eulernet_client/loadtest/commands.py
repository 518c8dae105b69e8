"""`eulernet loadtest`, `eulernet perf-data` and `eulernet perf`. Imports click only, as ../commands.py does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.commands import _server_options

if TYPE_CHECKING:
    from eulernet_client.loadtest.plan import Plan
    from eulernet_client.loadtest.results import Machine, Run
    from eulernet_client.loadtest.runner import Runner
    from eulernet_client.loadtest.traffic import Traffic

MODES = click.Choice(["streams", "clips"])
DEFAULT_FPS = 10.0  # every 3rd frame of a camera's 30
MOST_STREAMS = 1024  # slots for sequences of the shipped model repository
SECONDS = click.FloatRange(min=0, min_open=True)
VIDEOS = click.argument("paths", nargs=-1, required=True, metavar="VIDEO...")


def _numbers(kind: type[int] | type[float]) -> Callable[..., tuple[float, ...] | None]:
    """Reads numbers above 0 with commas between them; whole ones where `kind` is int."""

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            numbers = tuple(kind(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(0 < number < float("inf") for number in numbers):
            what = "whole numbers" if kind is int else "numbers"
            raise click.BadParameter(f"{value!r}: give {what} above 0 with commas between them, such as 1,4,16")
        return numbers

    return read


def _frames_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--most-frames",
        type=click.IntRange(min=4),
        default=48,
        show_default=True,
        help="Frames to take from each source, every 3rd; they are held in memory.",
    )(function)


@click.command()
@VIDEOS
@_server_options(timeout_s=10.0)
@click.option("--mode", type=MODES, default="streams", show_default=True, help="Streams of frames, or clip calls.")
@click.option(
    "--concurrency",
    callback=_numbers(int),
    metavar="N,N,…",
    help="Closed loop: so many streams or clip calls at all times. [default: 1]",
)
@click.option(
    "--rate",
    "rates",
    callback=_numbers(float),
    metavar="N,N,…",
    help="Open loop: so many streams or clips begin a second.",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="How the open loop's arrivals are spread.",
)
@click.option(
    "--fps",
    type=SECONDS,
    help="Pace the frames of a stream; without it each follows the last one's answer. [default with --rate: 10]",
)
@click.option("--stream-frames", type=click.IntRange(min=1), help="Frames of a stream; all that its source has.")
@click.option("--duration-s", type=SECONDS, default=10.0, show_default=True, help="Measured seconds of each run.")
@click.option("--warm-up-s", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds before them.")
@click.option("--late-ms", type=SECONDS, help="From when on an answer is late. [default: one frame's time of --fps]")
@click.option("--seed", default=1, show_default=True, help="Of the arrivals; the same seed gives the same ones.")
@click.option("--find-max-streams", is_flag=True, help="Search the largest number of streams at --fps that holds.")
@click.option(
    "--p99-ms", type=SECONDS, default=100.0, show_default=True, help="What holds in that search: p99 of a frame."
)
@_frames_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/loadtest"),
    show_default=True,
    help="Folder for report.html, report.json and report.csv.",
)
def loadtest(
    paths: Sequence[str], most_frames: int, find_max_streams: bool, p99_ms: float, out: Path, **given: Any
) -> None:
    """Put a server under load that looks like traffic, and measure what it bears.

    VIDEO: videos or folders of JPEGs, of which every 3rd frame is sent. Latency counts from when a request was due,
    not from when the tester got round to sending it; both are shown. No request is tried again.

    \b
    Closed loop:  --concurrency 1,4,16         streams, or with --mode clips, clip calls
    Cameras:      --concurrency 16 --fps 10    frames due every 100 ms
    Open loop:    --rate 5 [--fps 10]          streams or clips that arrive whatever the server does
    Search:       --find-max-streams --p99-ms 100 --fps 10

    Exit status: 0 measured, 1 nothing was scored or (searching) nothing held, 2 wrong usage.
    """
    server = {name: given.pop(name) for name in ("urls", "timeout_s", "tls", "tls_ca", "headers")}
    plans = _plans(find_max_streams, **given)
    with _told():
        machine, runner = _runner(paths, most_frames, **server)
        version, weights = runner.server()
        largest = ""
        if find_max_streams:
            found, runs = runner.find_max_streams(plans[0], p99_ms, MOST_STREAMS)
            largest = f"{found} streams at {plans[0].fps:g} fps hold with a p99 of at most {p99_ms:g} ms a frame"
        else:
            runs = runner.run(plans)
        _finish("loadtest", out, server["urls"], version, weights, runner.traffic, runs, machine, largest)
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
    """The runs that the options ask for."""
    from eulernet_client.loadtest.plan import Arrivals, Mode, Plan

    if concurrency and rates:
        raise click.UsageError("--concurrency is a closed loop, --rate an open one: give one of them")
    if mode == "clips" and (fps is not None or rest["stream_frames"] is not None or find_max_streams):
        raise click.UsageError("--fps, --stream-frames and --find-max-streams are of streams: leave --mode clips out")
    if find_max_streams and (rates or fps is None or len(concurrency or (1,)) != 1):
        raise click.UsageError("--find-max-streams needs --fps, no --rate, and at most one --concurrency, to start at")
    loads: list[dict[str, Any]] = [{"rate_hz": rate} for rate in rates or ()]
    loads = loads or [{"concurrency": number} for number in concurrency or (1,)]
    if rates and mode == "streams" and fps is None:
        fps = DEFAULT_FPS
    late_s = None if late_ms is None else late_ms / 1000
    return [
        Plan(mode=Mode(mode), arrivals=Arrivals(arrivals), fps=fps, late_s=late_s, **load, **rest) for load in loads
    ]


@contextmanager
def _told() -> Iterator[None]:
    """Shows this client's errors as a command shows its own."""
    from eulernet_client.errors import EulerNetError

    # gRPC's own notes on every lost connection stay out of the terminal; what matters of them is in the errors.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        yield
    except EulerNetError as error:
        raise click.ClickException(str(error)) from error


def _runner(
    paths: Sequence[str],
    most_frames: int,
    urls: Sequence[str],
    timeout_s: float,
    tls: bool = False,
    tls_ca: str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[Machine, Runner]:
    """The machine as it is before any load, and what makes the runs. Raises: MediaError."""
    from eulernet_client._transport import Connection, Tls
    from eulernet_client.aio import AsyncClient
    from eulernet_client.loadtest.results import Machine
    from eulernet_client.loadtest.runner import Runner
    from eulernet_client.loadtest.traffic import load

    machine = Machine.here()
    encrypted = Tls(root_certificates=tls_ca) if tls or tls_ca else None
    try:
        Connection.make(urls, timeout_s, encrypted, headers)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error

    def connect() -> AsyncClient:
        return AsyncClient(urls, timeout_s=timeout_s, tls=encrypted, headers=headers)

    return machine, Runner(connect, load(paths, most_frames), timeout_s)


def _finish(
    command: str,
    out: Path,
    urls: Sequence[str],
    version: str,
    weights: str,
    traffic: Traffic,
    runs: Sequence[Run],
    machine: Machine,
    largest: str = "",
) -> None:
    """Prints the table and writes the report."""
    from rich.console import Console

    from eulernet_client.loadtest import report
    from eulernet_client.loadtest.results import Session
    from eulernet_client.loadtest.table import table

    session = Session(
        command=command,
        urls=tuple(urls),
        server_version=version,
        weights=weights,
        sources=len(traffic.sources),
        bytes_per_frame=traffic.bytes_per_frame,
        runs=tuple(runs),
        largest=largest,
        machine=machine,
    )
    console = Console(highlight=False)
    console.print(table(session.runs))
    for run in session.runs:
        for note in run.notes:
            console.print(f"{run.load}: {note}", style="yellow", markup=False)
    if largest:
        console.print(largest, style="bold", markup=False)
    try:
        page = report.write(session, out)
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    click.echo(f"report: {page}", err=True)


@click.command("perf-data")
@VIDEOS
@click.option("--mode", type=MODES, default="streams", show_default=True, help="For sequences, or for the clip call.")
@_frames_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON file to write.")
def perf_data(paths: Sequence[str], mode: str, most_frames: int, out: Path) -> None:
    """Write videos as the real-data JSON of Triton's perf_analyzer.

    A video is one sequence of its frames, every 3rd; with --mode clips, its clips of four frames are requests.
    """
    from eulernet_client.loadtest import perf_data as documents
    from eulernet_client.loadtest.plan import Mode
    from eulernet_client.loadtest.traffic import load

    which = Mode(mode)
    with _told():
        traffic = load(paths, most_frames)
    try:
        documents.write(out, traffic, which)
    except OSError as error:
        raise click.ClickException(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    click.echo(f"perf_analyzer -m {which.model} -i grpc -u HOST:8001 --input-data {out} --concurrency-range 1:16:5")


@click.command()
@VIDEOS
@click.option(
    "--url",
    default="localhost:8001",
    show_default=True,
    envvar="EULERNET_URL",
    metavar="HOST:PORT",
    help="gRPC address of the server.",
)
@click.option("--timeout-s", type=SECONDS, default=10.0, show_default=True, help="Seconds for one of our own requests.")
@click.option(
    "--mode", "modes", type=MODES, multiple=True, help="What to call; give it again for both. [default: clips]"
)
@click.option(
    "--concurrency",
    callback=_numbers(int),
    metavar="N,N,…",
    default="1,2,4,8",
    show_default=True,
    help="One run of each for each.",
)
@click.option("--duration-s", type=SECONDS, default=9.0, show_default=True, help="Measured seconds of each run.")
@click.option("--warm-up-s", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Before our own runs.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="So many times; medians are compared."
)
@click.option(
    "--agree-percent",
    type=SECONDS,
    help="Fail where the two tools' throughput differs by more than this, at any load.",
)
@click.option(
    "--perf-analyzer",
    type=click.Path(path_type=Path),
    help="The program; else on PATH, beside this Python, or taken out of a pinned tritonclient wheel.",
)
@_frames_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/perf"),
    show_default=True,
    help="Folder for the report and for perf_analyzer's own CSV files.",
)
def perf(
    paths: Sequence[str],
    url: str,
    timeout_s: float,
    modes: Sequence[str],
    concurrency: Sequence[int],
    rounds: int,
    agree_percent: float | None,
    perf_analyzer: Path | None,
    most_frames: int,
    out: Path,
    **plan: Any,
) -> None:
    """Run Triton's perf_analyzer and our own load tester by turns, with the same pictures and the same concurrency.

    Exit status: 0 measured, 1 a tool failed, nothing was scored or (with --agree-percent) the two disagree, 2 usage.
    """
    from eulernet_client.loadtest import perf_analyzer as tool
    from eulernet_client.loadtest.compare import agreement, by_turns
    from eulernet_client.loadtest.plan import Mode, Plan

    with _told():
        machine, runner = _runner(paths, most_frames, [url], timeout_s)
        version, weights = runner.server()
        binary = tool.find(perf_analyzer, Path("out/perf_analyzer"))
        click.echo(f"perf_analyzer: {binary}", err=True)
        which = [Mode(mode) for mode in modes or ("clips",)]
        plans = [Plan(mode=mode, concurrency=int(number), **plan) for mode in which for number in concurrency]
        runs = by_turns(runner, plans, rounds, binary, url, out)
        _finish("perf", out, [url], version, weights, runner.traffic, runs, machine)
    compared = agreement(runs)
    for line in compared.lines:
        click.echo(line)
    if any(run.throughput_fps == 0 for run in runs):
        raise click.ClickException("a run has no scored frame; see the report")
    if agree_percent is not None and abs(compared.worst_percent) > agree_percent:
        raise click.ClickException(f"the tools differ by more than {agree_percent:g} %; is the machine busy?")
