# SPDX-License-Identifier: Apache-2.0
"""`eulernet summary`: the network's cost per frame and size, compared with other systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eulernet.network import EulerNet


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates per frame, in 1e9, and number of parameters."""

    name: str
    giga_macs: float
    parameters: int


# Yu et al., CVPR 2020, and George and Marcel, ICB 2019, at the input sizes of those papers.
PEERS = (Cost("CDCN, 256x256", 52.6, 2_250_000), Cost("DeepPixBiS, 224x224", 4.59, 3_200_000))


def measure(network: EulerNet) -> list[Cost]:
    """The costs of the network's parts and, last, of the network, counted while it scores one frame."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    size = network.config.image_size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, size, size, 3, dtype=torch.uint8))
    operations = {module: sum(counts.values()) for module, counts in counter.get_flop_counts().items()}
    stages = {f"stages.{i}": stage for i, stage in enumerate(network.stages)}
    fcams = {f"fcams.{i}": fcam for i, fcam in enumerate(network.fcams)}
    parts = {"stem": network.stem, **stages, **fcams, "neck": network.neck, "head": network.head, "": network}
    costs = []
    for name, module in parts.items():
        # The counter counts a multiply-accumulate as two operations.
        giga_macs = operations.get(f"EulerNet.{name}".rstrip("."), 0) / 2e9
        costs.append(Cost(name, giga_macs, sum(p.numel() for p in module.parameters())))
    return costs


@click.command()
def summary() -> None:
    """Print the network's cost per frame and its size, by part, and the same for other systems."""
    from eulernet.network import create

    network = create()
    *parts, total = measure(network)
    size = network.config.image_size
    click.echo(f"{'part':<22}{'GMACs per frame':>15}{'parameters':>15}")
    for cost in parts:
        click.echo(_row(cost))
    click.echo("-" * 52)
    for cost in (Cost(f"EulerNet, {size}x{size}", total.giga_macs, total.parameters), *PEERS):
        click.echo(_row(cost))


def _row(cost: Cost) -> str:
    return f"{cost.name:<22}{cost.giga_macs:>15.4f}{cost.parameters:>15,}"
