# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.planning`: load tests a real server, compares the planner's model, and renders planning.md."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.moving_pictures import traffic
from benchmarks.pages import measuring_options, say
from benchmarks.planning import planning_loads as measure
from benchmarks.rig import Rig, surroundings
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.planning.capacity import most_streams
from eulernet_loadtest.planning.fleet_simulation import Fleet, simulate, table
from eulernet_loadtest.planning.measured_service import MeasuredService, read_services
from eulernet_loadtest.planning.model_check import WITHIN
from eulernet_serving.cpu_repository import assemble

WIDTH_PX, HEIGHT_PX = 640, 480
FRAMES = 24  # of the source
FLEETS = (10, 100, 1000)  # replicas
P99_S, RESERVE, ZONES, GATEWAYS, STREAM_S, TABLE_SIZE = 0.15, 0.2, 3, 2, 10.0, 100_000
TEMPLATE = Path(__file__).with_name("planning.md.j2")


@click.command()
@measuring_options("planning", seconds=10.0)
@click.option("--largest-fleet", type=click.IntRange(min=1), default=FLEETS[-1], show_default=True, help="Replicas.")
def main(out: Path, docs: Path | None, seconds: float, rounds: int, no_measure: bool, largest_fleet: int) -> None:
    """Compare the capacity planner's model with load tests of the embedded server."""
    out.mkdir(parents=True, exist_ok=True)
    if not no_measure:
        pages.write_json(run(out, seconds, rounds), out / "results.json")
    results = pages.read_json(out / "results.json")
    reports = [out / name for name in results["reports"]]
    services = read_services(reports)
    found = measure.figures(reports)
    fleets = fleet_rows(services[Mode.STREAMS], [count for count in FLEETS if count <= largest_fleet])
    text = pages.render(
        TEMPLATE,
        results=results,
        services={mode.value: _points(each) for mode, each in services.items()},
        figures=found,
        agreeing=sum(each.agrees for each in found),
        within=WITHIN,
        fps=measure.FPS,
        fleets=fleets,
        fleet={"p99_ms": 1000 * P99_S, "reserve": RESERVE, "zones": ZONES, "gateways": GATEWAYS, "stream_s": STREAM_S},
    )
    page = out / "planning.md"
    write_whole_text(page, text)
    for each in found:
        say(f"{each.load}: p99 {each.measured_p99_ms:.1f} ms, model {each.p99_ms:.1f} ms ({each.p99_error:+.0%})")
    say(f"results: {out / 'results.json'}, page: {page}")
    if docs is not None:
        pages.publish([page], docs)


def run(out: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Starts the server and measures. Returns: the content of results.json."""
    repository = assemble(out / "model_repository")
    pictures = traffic(WIDTH_PX, HEIGHT_PX, FRAMES)
    with Rig(repository, out / "server.log") as rig:
        results = surroundings(rig, pictures)
        # Not measured: compiles kernels and allocates buffers.
        rig.load(pictures, measure.closed(Mode.CLIPS, 4, min(2.0, seconds)))
        reports, results["other_cores"] = measure.measure(rig, pictures, seconds, rounds, out)
    results["reports"] = [str(each.relative_to(out)) for each in reports]
    results["settings"] = {"seconds": seconds, "rounds": rounds, "bytes_per_frame": pictures.bytes_per_frame}
    return results


def _points(measured: MeasuredService) -> list[dict[str, float]]:
    rows = zip(measured.populations, measured.services, strict=True)
    points = [{"n": n, "per_s": n / each.time_s, "time_ms": 1000 * each.time_s} for n, each in rows]
    return [*points, {"n": 0, "per_s": 0, "time_ms": 1000 * measured.lone.time_s}]


def fleet_rows(measured: MeasuredService, sizes: list[int]) -> list[dict[str, Any]]:
    """A row for each scenario of each fleet. Its streams are what two thirds of it take: a zone may be lost."""
    share = most_streams(measured, measure.FPS, P99_S, RESERVE, 1024)
    if share is None:
        return []
    rows = []
    for replicas in sizes:
        streams = int(share.load * (replicas - -(-replicas // ZONES)))
        fleet = Fleet(replicas, ZONES, GATEWAYS, streams, measure.FPS, STREAM_S, TABLE_SIZE)
        say(f"simulating {replicas} replicas with {streams} streams")
        rows += [
            asdict(each) | {"streams": streams, "wanted": table(fleet).wanted} for each in simulate(measured, fleet)
        ]
    return rows


if __name__ == "__main__":
    main()
