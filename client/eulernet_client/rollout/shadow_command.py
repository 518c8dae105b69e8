# SPDX-License-Identifier: Apache-2.0
"""`eulernet rollout shadow`. Imports click only; the rest is loaded when the command runs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.command_options import SECONDS, Finite, header_options
from eulernet_client.rollout.compare_command import limit_options
from eulernet_core.weights_label import LIVE_THRESHOLD

if TYPE_CHECKING:
    from eulernet_client.rollout.shadow_record import ShadowRecord

LIMITS = ("changed_percent", "difference", "latency_rise_percent")  # callers' clips have no labels
HEADER_HELP = "gRPC header for calls to the {}, in place of the caller's of that name."


def address(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Callback of an option with an address. Raises: click.BadParameter."""
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise click.BadParameter(f"{value!r}: give HOST:PORT")
    return value


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:8101",
    show_default=True,
    metavar="HOST:PORT",
    callback=address,
    help="Where callers call.",
)
@click.option(
    "--url", default="localhost:8001", show_default=True, metavar="HOST:PORT", help="The version that answers."
)
@click.option("--candidate-url", required=True, metavar="HOST:PORT", help="The version that gets copies.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=header_options,
    metavar="NAME=VALUE",
    help=HEADER_HELP.format("first"),
)
@click.option(
    "--candidate-header",
    "candidate_headers",
    multiple=True,
    callback=header_options,
    metavar="NAME=VALUE",
    help=HEADER_HELP.format("candidate"),
)
@click.option(
    "--share", type=Finite(min=0, max=100), default=100.0, show_default=True, help="Percentage of the clips to copy."
)
@click.option(
    "--candidate-timeout-s", type=SECONDS, default=10.0, show_default=True, help="Seconds for the candidate's answer."
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=2, show_default=True, help="Copies under way at once."
)
@click.option(
    "--waiting-mb",
    type=Finite(min=0, min_open=True),
    default=64.0,
    show_default=True,
    help="Memory for the copies that wait or are under way; more are dropped.",
)
@click.option(
    "--metrics-listen",
    default="127.0.0.1:8102",
    show_default=True,
    metavar="HOST:PORT",
    callback=address,
    help="Where Prometheus reads the metrics; an empty text: nowhere.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Append a line of JSON for each compared clip."
)
@click.option("--most-calls", type=click.IntRange(min=1), help="End when so many clips were compared.")
@click.option(
    "--threshold",
    type=Finite(min=0, max=1),
    default=LIVE_THRESHOLD,
    show_default=True,
    help="Lowest liveness with the verdict live.",
)
@limit_options(*LIMITS)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison at the end as JSON.")
def shadow(**given: Any) -> None:
    """Relay calls to one version, and send copies of some clips to a candidate.

    Callers are answered from --url only, before a copy is sent. A candidate that is slow or fails costs them nothing.
    At SIGTERM, Ctrl-C or --most-calls the comparison is printed, over the last 20,000 compared clips. Calls are plain
    text and need no token: listen on loopback, beside a gateway.

    Exit status: 0 within the limits, 1 beyond one of them or nothing was compared, 2 wrong usage.
    """
    limits = {name: given.pop(name) for name in LIMITS}
    from eulernet_client.rollout.shadow_record import ShadowRecord

    try:
        record = ShadowRecord(given["threshold"], given["out"])
    except OSError as error:
        raise click.ClickException(
            f"{given['out']}: can't be opened ({error.strerror}); choose another --out"
        ) from error
    try:
        asyncio.run(_run(record, given))
    except OSError as error:
        raise click.ClickException(str(error)) from error
    finally:
        record.close()
    if not _print(record, given["threshold"], limits, given["as_json"]):
        sys.exit(1)


async def _run(record: ShadowRecord, given: Mapping[str, Any]) -> None:
    """Relays until a signal, or until enough clips were compared. Raises: OSError."""
    from eulernet_client.rollout.shadow_relay import ShadowRelay, ShadowSettings, Target

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    settings = ShadowSettings(
        given["share"] / 100, given["candidate_timeout_s"], given["concurrency"], int(given["waiting_mb"] * (1 << 20))
    )
    stable = Target(given["url"], given["headers"])
    candidate = Target(given["candidate_url"], given["candidate_headers"])
    async with ShadowRelay(given["listen"], stable, candidate, record, settings) as relay:
        page = _metrics_page(record, given["metrics_listen"])
        host = given["listen"].rpartition(":")[0]
        shown = "" if page is None else f"; metrics on {page.server_address[0]}:{page.server_port}"
        click.echo(f"relaying {host}:{relay.port} to {stable.url}, copies to {candidate.url}{shown}", err=True)
        try:
            await _until(stopped, record, given["most_calls"])
        finally:
            if page is not None:
                page.shutdown()
                page.server_close()


async def _until(stopped: asyncio.Event, record: ShadowRecord, most_calls: int | None) -> None:
    from eulernet_client.rollout.shadow_record import COMPARED

    while not stopped.is_set() and (most_calls is None or record.counts[COMPARED] < most_calls):
        try:
            await asyncio.wait_for(stopped.wait(), 0.2)
        except asyncio.TimeoutError:
            continue


def _metrics_page(record: ShadowRecord, listen: str) -> Any:
    """Serves the metrics. Raises: OSError if the address can't be listened on."""
    from prometheus_client import start_http_server

    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    server, _ = start_http_server(int(port), host.strip("[]"), record.registry)
    return server


def _print(record: ShadowRecord, threshold: float, limits: Mapping[str, float | None], as_json: bool) -> bool:
    """Prints the comparison. Returns whether something was compared and is within the limits."""
    from eulernet_client.rollout.comparison_text import comparison_lines
    from eulernet_client.rollout.version_comparison import Limits, compare
    from eulernet_client.terminal_output import output_errors

    result = compare(record.pairs, threshold) if record.pairs else None
    beyond = result.beyond(Limits(**limits)) if result is not None else ["nothing was compared"]
    calls = {name: count for name, count in record.counts.items() if count}
    with output_errors():
        if as_json:
            compared = {} if result is None else result.to_dict()
            click.echo(json.dumps({"calls": calls, **compared, "beyond": beyond}, indent=2, allow_nan=False))
        else:
            click.echo("calls: " + (", ".join(f"{count:,} {name}" for name, count in calls.items()) or "none"))
            for line in comparison_lines(result) if result is not None else ():
                click.echo(line)
            for line in beyond:
                click.echo(f"beyond the limit: {line}")
    return not beyond
