# SPDX-License-Identifier: Apache-2.0
"""`eulernet rollout compare`. Imports click only; the rest is loaded when the command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eulernet_client.command_options import Finite, connect, header_options, server_options
from eulernet_core.weights_label import LIVE_THRESHOLD

if TYPE_CHECKING:
    from eulernet_client.rollout.score_pairs import Pair
    from eulernet_client.rollout.version_comparison import Comparison

F = TypeVar("F", bound=Callable[..., Any])
LIMITS = {
    "changed_percent": ("--most-changed", "PERCENT", "share of the sources whose verdict changes"),
    "difference": ("--most-difference", "LIVENESS", "difference of a source's liveness"),
    "acer_rise_points": ("--most-acer-rise", "POINTS", "rise of ACER in percentage points; needs --labels"),
    "latency_rise_percent": ("--most-latency-rise", "PERCENT", "rise of the p95 latency"),
}


def limit_options(*names: str) -> Callable[[F], F]:
    """Decorator: adds the options of these limits of `Limits`."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            option, metavar, text = LIMITS[name]
            described = f"Exit with 1 above this {text}."
            function = click.option(option, name, type=Finite(min=0), metavar=metavar, help=described)(function)
        return function

    return decorate


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TABLE_OR_VIDEO...")
@server_options(timeout_s=30.0, several_urls=False)
@click.option(
    "--candidate-url", metavar="HOST:PORT", help="gRPC address of the candidate: score videos on both servers."
)
@click.option(
    "--candidate-header",
    "candidate_headers",
    multiple=True,
    callback=header_options,
    metavar="NAME=VALUE",
    help="gRPC header for the candidate only, beside those of --header.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns path, label (live or attack) and instrument, for APCER, BPCER and ACER.  "
    "[default: those in the first table, if any]",
)
@click.option(
    "--threshold",
    type=Finite(min=0, max=1),
    default=LIVE_THRESHOLD,
    show_default=True,
    help="Lowest liveness with the verdict live.",
)
@click.option("--clips", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of each video.")
@limit_options(*LIMITS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def compare(
    paths: Sequence[str],
    candidate_url: str | None,
    candidate_headers: Mapping[str, str],
    labels: Path | None,
    threshold: float,
    clips: int,
    as_json: bool,
    **rest: Any,
) -> None:
    """Print what a candidate would change: verdicts, error rates, latency.

    \b
    Two score tables:  eulernet rollout compare stable.parquet candidate.parquet
    Two servers:       eulernet rollout compare VIDEO... --url STABLE --candidate-url CANDIDATE

    The tables are those of `eulernet score --out`, or CSV tables of `eulernet evaluate`. The servers score each video
    by turns, one request at a time. A source that only one version scored counts as a changed verdict.

    Exit status: 0 within the limits, 1 beyond one of them or a server or table can't be used, 2 wrong usage.
    """
    limits = {name: rest.pop(name) for name in LIMITS}
    from eulernet_client.errors import EulerNetError
    from eulernet_client.rollout.presentation_labels import labels_in_table, read_labels
    from eulernet_client.rollout.version_comparison import Limits
    from eulernet_client.rollout.version_comparison import compare as compare_pairs
    from eulernet_core.attack_detection_metrics import MetricsError

    about: dict[str, str] = {}
    try:
        known = None if labels is None else read_labels(labels)
        if candidate_url is None:
            pairs = _from_tables(paths)
            known = labels_in_table(Path(paths[0])) if known is None else known
        else:
            candidate = {**rest, "urls": [candidate_url], "headers": {**rest["headers"], **candidate_headers}}
            pairs = _from_servers(paths, clips, rest, candidate, about)
        result = compare_pairs(pairs, threshold, known)
    except (EulerNetError, MetricsError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    beyond = result.beyond(Limits(**limits))
    _print(result, about, beyond, as_json)
    if beyond:
        sys.exit(1)


def _from_tables(paths: Sequence[str]) -> list[Pair]:
    from eulernet_client.rollout.score_pairs import paired
    from eulernet_client.rollout.score_tables import read_answers

    if len(paths) != 2:
        raise click.UsageError(f"{len(paths)} tables: give two; to score videos on two servers, add --candidate-url")
    stable, candidate = (read_answers(Path(path)) for path in paths)
    return paired(stable, candidate)


def _from_servers(
    paths: Sequence[str], clips: int, stable: Mapping[str, Any], candidate: Mapping[str, Any], about: dict[str, str]
) -> list[Pair]:
    """Scores the videos. `about`: receives the identity of each version."""
    from eulernet_client.rollout.paired_scoring import score_pairs, served_model
    from eulernet_client.source_search import search_sources

    sources = search_sources(*paths).sources
    with connect("Client", **stable) as first, connect("Client", **candidate) as second:
        for name, client in (("stable", first), ("candidate", second)):
            model = served_model(client)
            about[name] = f"{model.weights} ({model.identity})"
        return list(score_pairs(first, second, sources, clips))


def _print(result: Comparison, about: Mapping[str, str], beyond: Sequence[str], as_json: bool) -> None:
    from eulernet_client.rollout.comparison_text import comparison_lines
    from eulernet_client.terminal_output import output_errors, shown

    with output_errors():
        if as_json:
            click.echo(json.dumps({**about, **result.to_dict(), "beyond": list(beyond)}, indent=2, allow_nan=False))
            return
        for name, model in about.items():
            click.echo(f"{name}: {shown(model)}")
        if len(set(about.values())) == 1:
            click.echo("both servers report the same weights and precision")
        for line in comparison_lines(result):
            click.echo(line)
        for line in beyond:
            click.echo(f"beyond the limit: {line}")
