# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.tuning`: measures single changes of the configuration and renders tuning.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.moving_pictures import traffic
from benchmarks.pages import measuring_options, say
from benchmarks.rig import Rig, surroundings
from benchmarks.tuning import tuning_analysis as analysis
from benchmarks.tuning import tuning_loads as measure
from benchmarks.tuning.changes import Change, candidates, pending
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.plan import Mode
from eulernet_serving.cpu_repository import assemble
from eulernet_serving.openvino_runtime import openvino_core

WIDTH_PX, HEIGHT_PX = 640, 480
FRAMES = 24
TEMPLATE = Path(__file__).with_name("tuning.md.j2")


@click.command()
@measuring_options("tuning", seconds=2.0)
@click.option(
    "--mode",
    "modes",
    type=click.Choice([mode.value for mode in Mode]),
    multiple=True,
    help="Call to measure; repeat it for both. [default: both]",
)
@click.option("--only", default="", help="Only changes with this text in their name, such as threads.")
def main(
    out: Path, docs: Path | None, seconds: float, rounds: int, modes: tuple[str, ...], only: str, no_measure: bool
) -> None:
    """Measure the effect of single changes of the models' CPU configurations on throughput and latency."""
    out.mkdir(parents=True, exist_ok=True)
    if not no_measure:
        bf16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
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
    """Assembles a repository in `out` and measures the changes on it. Returns the content of results.json.

    Raises: click.ClickException if no change differs from the shipped configuration; the errors of `sweep`.
    """
    repository = assemble(out / "model_repository")
    wanted = pending(repository, changes)
    if not wanted:
        raise click.ClickException(f"{len(changes)} changes, none differs from the shipped configuration; see --only")
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
    """tuning.csv: a row for each change, mode, round and server."""
    rows = [
        {"change": point["name"], "mode": record["mode"], "round": record["round"], "server": server, **record[server]}
        for point in results["points"]
        for record in point.get("records", [])
        for server in ("unchanged", "changed")
    ]
    pages.write_csv(rows, out / "tuning.csv")


def write_page(results: dict[str, Any], out: Path) -> Path:
    """Writes tuning.md into `out`. Returns its path."""
    page = out / "tuning.md"
    write_whole_text(page, pages.render(TEMPLATE, results=results, view=analysis.view(results)))
    return page


if __name__ == "__main__":
    main()
