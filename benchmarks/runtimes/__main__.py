# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.runtimes`: times clip networks in OpenVINO and ONNX Runtime by turns, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.pages import say
from benchmarks.runtimes.network_times import RUNTIMES, Network, Turn, load, ratio, summary, turns
from eulernet.command_options import EXISTING_FILE
from eulernet_core import shipped
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_loadtest.results import Machine
from eulernet_serving.cpu_precision import GRAPH, INT8_GRAPH


@click.command()
@click.option("--graph", "graphs", type=EXISTING_FILE, multiple=True, help="Further clip networks (model.onnx).")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Of each turn.")
@click.option("--out", type=pages.FOLDER, default=Path("out/runtimes"), show_default=True, help="Folder for results.")
def main(graphs: tuple[Path, ...], rounds: int, seconds: float, out: Path) -> None:
    """Time the shipped clip network in fp32 and int8, and further ones, on this processor.

    One thread infers one clip after the other; then one thread for each core does, each with a copy of the network.
    An int8 graph is timed in OpenVINO alone. Ratios are to OpenVINO's time of the shipped network in the same round.
    """
    folder = shipped.model_repository() / CLIP_NETWORK_MODEL / "1"
    networks: list[Network] = []
    for graph in (folder / GRAPH, folder / INT8_GRAPH, *graphs):
        for runtime in RUNTIMES:
            network = load(graph, runtime)
            if network is not None:
                networks.append(network)
    measured: list[Turn] = []
    for number in range(rounds):
        measured += turns(networks, number, seconds)
        say(f"round {number + 1} of {rounds}")
    rows = [summary(network, networks[0], measured) for network in networks]
    machine = Machine.here()
    results: dict[str, Any] = {"machine": vars(machine), "rounds": rounds, "seconds": seconds, "rows": rows}
    pages.write_json(results, out / "results.json")
    click.echo(f"{machine.processor}, {machine.cores} cores; simulated faces, median (lowest to highest)")
    click.echo("| weights | precision | runtime | one thread, ms a frame | ratio | a thread a core, frames/s | ratio |")
    click.echo("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        click.echo(
            f"| {row['weights']} | {row['precision']} | {row['runtime']} | {row['alone_ms']:.2f} | "
            f"{ratio(row['alone_ratio'])} | {row['together_fps']:.0f} | {ratio(row['together_ratio'])} |"
        )


if __name__ == "__main__":
    main()
