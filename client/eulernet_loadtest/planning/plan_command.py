# SPDX-License-Identifier: Apache-2.0
"""`eulernet plan`. Imports click only; a call loads the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eulernet_client.command_options import SECONDS, Finite

REPORT = Path("out", "loadtest", "report.json")
_FILE = click.Path(dir_okay=False, path_type=Path)
_ABOVE_ZERO = Finite(min=0, min_open=True)


@click.command()
@click.option("--streams", type=click.IntRange(min=1), help="Streams that are open at once.")
@click.option("--fps", type=_ABOVE_ZERO, default=10.0, show_default=True, help="Frame rate of a stream.")
@click.option("--clips-per-s", type=_ABOVE_ZERO, help="Clip calls a second, at random times.")
@click.option(
    "--p99-ms", type=SECONDS, help="Largest p99 of a request: a stream's frame, or a clip call. A load needs it."
)
@click.option(
    "--measured",
    "reports",
    type=_FILE,
    multiple=True,
    default=[REPORT],
    show_default=True,
    help="report.json of `eulernet loadtest` on one replica; repeat it for several.",
)
@click.option(
    "--reserve",
    type=Finite(min=0, max=0.9),
    default=0.2,
    show_default=True,
    help="Share of a replica's largest throughput that stays free.",
)
@click.option(
    "--zones",
    type=click.IntRange(min=1, max=100),
    default=1,
    show_default=True,
    help="Zones with the same number of replicas; with several, one may be lost.",
)
@click.option("--replicas-per-gpu", type=click.IntRange(min=1), help="Replicas that share a GPU, as MIG slices do.")
@click.option("--price-per-hour", type=_ABOVE_ZERO, help="Price of a GPU; of a machine without --replicas-per-gpu.")
@click.option("--simulate", is_flag=True, help="Simulate the streams on the planned replicas, up to 1,000.")
@click.option(
    "--stream-s", type=SECONDS, default=10.0, show_default=True, help="Mean length of a stream in the simulation."
)
@click.option(
    "--gateways", type=click.IntRange(min=1, max=8), default=2, show_default=True, help="Gateways in the simulation."
)
@click.option(
    "--table-size",
    type=click.IntRange(min=1024),
    default=100_000,
    show_default=True,
    help="Streams that a gateway's table holds (the chart's gateway.limits.streams).",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the simulation.")
@click.option("--out", type=_FILE, help="JSON file for the plan.")
def plan(reports: Sequence[Path], out: Path | None, **given: Any) -> None:
    """Plan replicas, GPUs and cost for a load, from load tests of one replica.

    Measure a replica of the kind that you plan with first, on an idle machine:

    \b
    eulernet loadtest VIDEO --concurrency 1,2,4,8,16,32 --out out/closed
    eulernet loadtest VIDEO --concurrency 1 --fps 10 --out out/paced
    eulernet plan --measured out/closed/report.json --measured out/paced/report.json \\
        --streams 500 --fps 10 --p99-ms 100 --zones 3 --simulate

    A report with further paced runs, such as --concurrency 4,8 --fps 10, is compared with the model.
    Streams and clips together get replicas of their own. With --price-per-hour and no load it prints what a million
    clips cost at the largest measured throughput, as when an archive is scored.

    Exit status: 0 planned, 1 no number of replicas holds the p99 or the simulation does not, 2 wrong usage.
    """
    loaded = given["streams"] is not None or given["clips_per_s"] is not None
    if not loaded and given["price_per_hour"] is None:
        raise click.UsageError("give --streams, --clips-per-s, or both; --price-per-hour alone prints costs")
    if given["p99_ms"] is None:
        if loaded:
            raise click.UsageError("give --p99-ms, the largest p99 of a request")
        del given["p99_ms"]
    if given["simulate"] and given["streams"] is None:
        raise click.UsageError("--simulate is about streams: give --streams")
    from eulernet_loadtest.load_session import command_errors, writable
    from eulernet_loadtest.planning.plan_result import Asked, make_plan, show, write_plan

    with command_errors():
        result = make_plan(reports, Asked(**given))
    show(result)
    if out is not None:
        with writable(out):
            write_plan(result, out)
    if not result.holds:
        sys.exit(1)
