# SPDX-License-Identifier: Apache-2.0
"""`eulernet status`. Imports click only; the client is loaded when the command runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from eulernet_client.command_options import WAIT_SECONDS, connect, server_options

if TYPE_CHECKING:
    from eulernet_client._result import Health
    from eulernet_client.client import Client

POLL_S = 0.5  # between two checks with --wait-s


@click.command()
@server_options(timeout_s=10.0)
@click.option("--wait-s", type=WAIT_SECONDS, default=0, help="Seconds to wait for a healthy server.")
def status(urls: Sequence[str], wait_s: float, **server: Any) -> None:
    """Check the health of the server, with a real inference through both ensembles.

    Exit status: 0 every server is healthy, 1 a server is not, 2 wrong usage.
    """
    from eulernet_client.errors import EulerNetError

    failed = False
    deadline = time.monotonic() + wait_s
    for url in urls:
        with connect("Client", urls=[url], **server) as client:
            try:
                _print(_healthy(client, deadline))
            except EulerNetError as error:
                click.echo(f"not healthy: {error}", err=True)
                failed = True
    if failed:
        sys.exit(1)


def _healthy(client: Client, deadline: float) -> Health:
    """Checks until the server is healthy or the deadline has passed. Raises: EulerNetError of the last check."""
    from eulernet_client.errors import EulerNetError

    while True:
        try:
            return client.check()
        except EulerNetError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(POLL_S)


def _print(health: Health) -> None:
    from eulernet_client.terminal_output import shown

    click.echo(f"healthy: {health.url}")
    click.echo(f"  server   Triton {health.server_version}")
    click.echo(f"  models   {', '.join(health.models)} ready")
    click.echo(f"  weights  {shown(health.weights)} ({shown(health.identity)})")
    click.echo(f"  clip     {1000 * health.clip_s:.1f} ms for 4 frames")
    click.echo(f"  stream   {1000 * health.stream_s:.1f} ms a frame")
