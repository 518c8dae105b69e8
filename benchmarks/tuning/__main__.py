"""`python -m benchmarks.tuning`: measures single changes of the configuration and renders docs/tuning.md from them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click
import openvino
from eulernet_build.repository import assemble, checkout
from eulernet_client.loadtest.plan import Mode

from benchmarks import pages
from benchmarks.pictures import traffic
from benchmarks.rig import Rig, say, surroundings
from benchmarks.tuning import analysis, measure
from benchmarks.tuning.changes import Change, candidates, pending

WIDTH_PX, HEIGHT_PX = 640, 480
FRAMES = 24
TEMPLATE = Path(__file__).with_name("tuning.md.j2")


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/tuning"), show_default=True)
@click.option("--docs", type=click.Path(file_okay=False, path_type=Path), help="Write tuning.md there as well.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5), default=2.0, show_default=True, help="Measured seconds of each load."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Times that each change is measured."
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice([mode.value for mode in Mode]),
    multiple=True,
    help="Call to measure; give it again for both. [default: both]",
)
@click.option("--only", default="", help="Only changes whose name holds this text, such as threads.")
@click.option("--no-measure", is_flag=True, help="Render again from results.json in --out.")
def main(
    out: Path, docs: Path | None, seconds: float, rounds: int, modes: tuple[str, ...], only: str, no_measure: bool
) -> None:
    """Measure what single changes of the models' CPU configurations do to throughput and latency."""
    out.mkdir(parents=True, exist_ok=True)
    if not no_measure:
        bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        changes = [each for each in candidates(bf16) if only in each.name]
        pages.write_json(
            run(out, changes, [Mode(mode) for mode in modes] or list(Mode), seconds, rounds, bf16), out / "results.json"
        )
    results = pages.read_json(out / "results.json")
    write_table(results, out)
    page = write_page(results, out)
    say(f"results: {out / 'results.json'}, page: {page}")
    if docs is not None:
        pages.publish([page], docs)
        say(f"written: {docs / page.name}")


def run(out: Path, changes: list[Change], modes: list[Mode], seconds: float, rounds: int, bf16: bool) -> dict[str, Any]:
    """Measures the changes on a repository of its own in `out`. Returns what results.json holds.

    Raises: click.ClickException where no change differs from what ships; else as `sweep`.
    """
    repository = assemble(out / "model_repository", face_models=checkout() / "out" / "face_models")
    wanted = pending(repository, changes)
    if not wanted:
        raise click.ClickException(f"{len(changes)} changes, none of which differs from what ships; see --only")
    pictures = traffic(WIDTH_PX, HEIGHT_PX, FRAMES)
    settings = {
        "seconds": seconds,
        "rounds": rounds,
        "width_px": WIDTH_PX,
        "height_px": HEIGHT_PX,
        "alone": measure.ALONE,
        "together": measure.TOGETHER,
        "bf16": bf16,
    }

    def about(rig: Rig) -> dict[str, Any]:
        return surroundings(rig, pictures) | {"settings": settings}

    return measure.sweep(repository, out, wanted, pictures, modes, seconds, rounds, about)


def write_table(results: dict[str, Any], out: Path) -> None:
    """tuning.csv: a row a change, call, round and server."""
    rows = [
        {"change": point["name"], "mode": record["mode"], "round": record["round"], "server": server, **record[server]}
        for point in results["points"]
        for record in point.get("records", [])
        for server in ("unchanged", "changed")
    ]
    with (out / "tuning.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_page(results: dict[str, Any], out: Path) -> Path:
    """Writes tuning.md into `out`. Returns its path."""
    page = out / "tuning.md"
    page.write_text(pages.render(TEMPLATE, results=results, view=analysis.view(results)), encoding="utf-8")
    return page


if __name__ == "__main__":
    main()
