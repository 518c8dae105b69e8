# SPDX-License-Identifier: Apache-2.0
"""Options that `eulernet loadtest`, `eulernet perf` and `eulernet perf-data` share. Imports click only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eulernet_client.command_options import SECONDS, WAIT_SECONDS
from eulernet_core.clip_geometry import CLIP_FRAMES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

MODES = click.Choice(["streams", "clips"])
VIDEOS = click.argument("paths", nargs=-1, required=True, metavar="VIDEO...")
MOST_FRAMES = click.option(
    "--most-frames",
    type=click.IntRange(min=CLIP_FRAMES),
    default=48,
    show_default=True,
    help="Frames to keep in memory of each source, every 3rd one.",
)


def numbers_option(*names: str, kind: type[int] | type[float], text: str, default: str | None = None) -> Decorator:
    """An option that takes numbers above 0, separated by commas.

    Args:
        names: as click takes them.
        kind: int for whole numbers, or float.
        text: help text.
    """
    return click.option(
        *names, callback=_numbers(kind), metavar="N,N,…", default=default, show_default=default is not None, help=text
    )


def _numbers(kind: type[int] | type[float]) -> Callable[..., tuple[float, ...] | None]:

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            found = tuple(kind(part) for part in value.split(","))
        except ValueError:
            found = ()
        if not found or not all(0 < number < float("inf") for number in found):
            wanted = "whole numbers" if kind is int else "numbers"
            raise click.BadParameter(f"{value!r}: give {wanted} above 0, separated by commas, such as 1,4,16")
        return found

    return read


def run_options(duration_s: float) -> Decorator:
    """`--duration-s` and `--warm-up-s`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--warm-up-s",
                type=WAIT_SECONDS,
                default=2.0,
                show_default=True,
                help="Seconds of load before the measurement starts.",
            ),
            click.option(
                "--duration-s",
                type=SECONDS,
                default=duration_s,
                show_default=True,
                help="Measured seconds of each run.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def out_option(default: str, text: str) -> Decorator:
    """`--out`, the folder for the report."""
    folder = click.Path(file_okay=False, path_type=Path)
    return click.option("--out", type=folder, default=Path(default), show_default=True, help=text)
