# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.scaling`: measures, writes results.json, CSV files and plots, and renders scaling.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.moving_pictures import traffic
from benchmarks.pages import measuring_options, say
from benchmarks.rig import Rig, surroundings
from benchmarks.scaling import plots
from benchmarks.scaling import scaling_analysis as analysis
from benchmarks.scaling import scaling_loads as measure
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.plan import Mode
from eulernet_serving.cpu_repository import assemble

PARTS = ("concurrency", "frame-size", "open-sequences")
WIDTH_PX, HEIGHT_PX = 640, 480
FRAMES = 24  # of the source
TEMPLATE = Path(__file__).with_name("scaling.md.j2")


@click.command()
@measuring_options("scaling", seconds=7.0)
@click.option("--only", default=",".join(PARTS), show_default=True, help="Parts, separated by commas.")
def main(out: Path, docs: Path | None, seconds: float, rounds: int, only: str, no_measure: bool) -> None:
    """Measure how throughput and latency of the embedded server depend on concurrency, frame size and open streams."""
    parts = only.split(",")
    if unknown := set(parts) - set(PARTS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: give some of {', '.join(PARTS)}", param_hint="--only")
    out.mkdir(parents=True, exist_ok=True)
    if not no_measure:
        pages.write_json(run(out, parts, seconds, rounds), out / "results.json")
    results = pages.read_json(out / "results.json")
    write_tables(results, out)
    page = write_page(results, out)
    say(f"results: {out / 'results.json'}, page: {page}")
    if docs is not None:
        pages.publish([page, *sorted(out.glob("scaling_*.svg"))], docs)
        say(f"written: {docs / page.name}")


def run(
    out: Path,
    parts: list[str],
    seconds: float,
    rounds: int,
    concurrency: tuple[int, ...] = measure.CONCURRENCY,
    sizes: tuple[tuple[int, int], ...] = measure.FRAME_SIZES,
    sequences: tuple[int, ...] = measure.OPEN_SEQUENCES,
) -> dict[str, Any]:
    """Assembles a repository in `out`, starts the server on it and measures the parts.

    Returns: the content of results.json.
    Raises: ServerError, TritonMissingError, RepositoryError, FetchError.
    """
    repository = assemble(out / "model_repository")
    pictures = traffic(WIDTH_PX, HEIGHT_PX, FRAMES)
    with Rig(repository, out / "server.log") as rig:
        results = surroundings(rig, pictures)
        results["settings"] = {
            "seconds": seconds,
            "rounds": rounds,
            "width_px": WIDTH_PX,
            "height_px": HEIGHT_PX,
            "bytes_per_frame": pictures.bytes_per_frame,
            "frame_size_concurrency": measure.FRAME_SIZE_CONCURRENCY,
        }
        # Not measured: compiles kernels and allocates buffers.
        rig.load(pictures, measure.plan(Mode.CLIPS, 4, min(2.0, seconds)))
        if "concurrency" in parts:
            results["concurrency"] = measure.against_concurrency(rig, pictures, concurrency, seconds, rounds)
        if "frame-size" in parts:
            results["frame_size"] = measure.against_frame_size(rig, sizes, seconds, rounds)
    if "open-sequences" in parts:
        # A fresh server, without the buffers for large pictures.
        with Rig(repository, out / "open_sequences.log") as rig:
            points, rate_hz = measure.against_open_sequences(rig, pictures, sequences, seconds)
        results["open_sequences"] = {
            "points": points,
            "rate_hz": rate_hz,
            "state_bytes": measure.state_bytes(repository),
            "idle_limit_s": measure.idle_limit_s(repository),
        }
    return results


def loads(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The points of each measured part."""
    parts = {"concurrency": results.get("concurrency"), "frame_size": results.get("frame_size")}
    parts["open_sequences"] = results.get("open_sequences", {}).get("points")
    return {name: points for name, points in parts.items() if points}


def write_tables(results: dict[str, Any], out: Path) -> None:
    """A CSV file for each part with a row for each point; nested values are in results.json only."""
    for name, points in loads(results).items():
        pages.write_csv(points, out / f"{name}.csv")


def write_page(results: dict[str, Any], out: Path) -> Path:
    """Draws the plots into `out` and writes scaling.md beside them. Returns the page's path."""
    concurrency = analysis.concurrency_view(results.get("concurrency", []), results["machine"]["cores"])
    frame_size = analysis.frame_size_view(results.get("frame_size", []))
    opened = analysis.open_sequences_view(results["open_sequences"]) if "open_sequences" in results else None
    if concurrency:
        plots.concurrency(concurrency, out / "scaling_concurrency")
    if frame_size:
        plots.frame_size(frame_size, out / "scaling_frame_size")
    if opened:
        plots.open_sequences(opened, out / "scaling_open_sequences")
    page = out / "scaling.md"
    text = pages.render(
        TEMPLATE,
        results=results,
        concurrency=concurrency,
        frame_size=frame_size,
        open_sequences=opened,
        knee_share=analysis.KNEE_SHARE,
        others_cores=analysis.others_cores([load for points in loads(results).values() for load in points]),
    )
    write_whole_text(page, text)
    return page


if __name__ == "__main__":
    main()
