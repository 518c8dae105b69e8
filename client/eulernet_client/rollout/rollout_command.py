# SPDX-License-Identifier: Apache-2.0
"""`eulernet rollout`. Imports click only; the rest is loaded when a command runs."""

from __future__ import annotations

import click

from eulernet_client.rollout.compare_command import compare
from eulernet_client.rollout.shadow_command import shadow


@click.group()
def rollout() -> None:
    """Compare a candidate of the service with the version in use, before and while it gets traffic."""


rollout.add_command(compare)
rollout.add_command(shadow)
