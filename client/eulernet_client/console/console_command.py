# SPDX-License-Identifier: Apache-2.0
"""`eulernet console`. Imports click only; the rest is loaded when the command runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from eulernet_client.command_options import connect, server_options

DEFAULT_PORT = 8004  # after the server's gRPC, metrics and health ports
METRICS_PORT = 8002  # of the server


@click.command()
@server_options(timeout_s=10.0, timeout_help="Seconds for one frame or clip, retries included.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the page on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--metrics",
    multiple=True,
    metavar="HOST:PORT",
    help=f"Address of the server's metrics; repeat for more servers. [default: port {METRICS_PORT} of each --url]",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def console(urls: Sequence[str], port: int, metrics: Sequence[str], open_page: bool, **server: Any) -> None:
    """Show a camera or a video live in the browser: face box, location map, liveness and STATUS of each frame.

    The page also scores files into a report and shows the server's metrics. It listens on 127.0.0.1 only and stores
    nothing. Its pictures go to the named server only.

    \b
    Exit status: 0 stopped on request, 1 the port is taken, 2 wrong usage.
    """
    client = connect("AsyncClient", urls=list(urls), **server)
    from eulernet_client.console.page_server import PortTakenError, serve_page
    from eulernet_client.console.server_metrics import metrics_addresses

    try:
        addresses = metrics_addresses(metrics, client.urls, METRICS_PORT)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metrics") from error
    try:
        serve_page(client, addresses, port, open_page=open_page, announce=lambda text: click.echo(text, err=True))
    except PortTakenError as error:
        raise click.ClickException(str(error)) from error
