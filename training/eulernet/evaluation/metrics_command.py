# SPDX-License-Identifier: Apache-2.0
"""`eulernet metrics`: figures of ISO/IEC 30107-3 from score tables, and comparison of score tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from eulernet.command_options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, resamples_option
from eulernet_core.weights_label import LIVE_THRESHOLD

if TYPE_CHECKING:
    from eulernet.evaluation.comparison import Clip, Comparison
    from eulernet.evaluation.protocols import ProtocolResult
    from eulernet.evaluation.report import Evaluation
    from eulernet.evaluation.stress_figures import StressResult
    from eulernet_core.attack_detection_metrics import EqualErrors

SHOWN = 3  # clips listed in a line


@click.group()
def metrics() -> None:
    """Compute figures from score tables and compare score tables.

    A score table is a CSV of `eulernet evaluate` or of another system, with a row per clip and the columns path, name,
    label, instrument, subject, phone, session, split, start, liveness.
    """


@metrics.command()
@click.argument("scores", type=EXISTING_FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder for metrics.json, metrics.md and metrics.html.")
@click.option(
    "--per",
    type=click.Choice(["video", "clip"]),
    default="video",
    show_default=True,
    help="Presentation: a video with the mean of its rows, or a row.",
)
@click.option("--system", help="Name of the scored system, for the heading.  [about.json's, or the folder's name]")
@click.option("--simulated", is_flag=True, help="Mark every figure as simulated, also without about.json.")
@resamples_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Lowest liveness with the verdict live; dev tables are then not needed.  [about.json's, or from dev scores]",
)
@click.option(
    "--equal-errors",
    "equal",
    type=click.Choice(["pooled", "highest"]),
    help="At the threshold, BPCER of the dev scores equals the APCER of the attacks pooled, or the highest of the "
    "instruments.  [about.json's, or pooled]",
)
def report(
    scores: Path,
    out: Path,
    per: Literal["video", "clip"],
    system: str | None,
    simulated: bool,
    resamples: int,
    seed: int,
    threshold: float | None,
    equal: "EqualErrors | None",
) -> None:
    """Compute APCER, BPCER, ACER, HTER, EER and their intervals from the tables in the folder SCORES.

    SCORES has dev.csv and test.csv; or, for OULU-NPU's protocols, protocol_1_dev.csv and protocol_1_test.csv,
    protocol_3_fold_1_dev.csv and so on. The threshold is at equal errors of the dev scores, or --threshold.

    \b
    Exit status: 0 report written, 1 a table can't be used, 2 wrong usage.
    """
    from dataclasses import replace

    from eulernet.evaluation.folder import evaluate_folder
    from eulernet.evaluation.scores import ScoresError
    from eulernet_core.attack_detection_metrics import MetricsError

    try:
        evaluation = evaluate_folder(scores, per, resamples, seed, threshold, equal)
    except (ScoresError, MetricsError) as error:
        raise click.ClickException(str(error)) from error
    about = evaluation.about
    marked = replace(about, system=system or about.system, simulated=simulated or about.simulated)
    write_and_print(replace(evaluation, about=marked), out)


@metrics.command()
@click.argument("first", type=EXISTING_FILE)
@click.argument("others", type=EXISTING_FILE, nargs=-1, required=True)
@click.option(
    "--within",
    type=click.FloatRange(0),
    default=1e-4,
    show_default=True,
    help="Largest allowed difference of liveness.",
)
@click.option(
    "--threshold", type=float, default=LIVE_THRESHOLD, show_default=True, help="Lowest liveness with the verdict live."
)
def compare(first: Path, others: tuple[Path, ...], within: float, threshold: float) -> None:
    """Compare the score table FIRST with OTHERS, clip by clip, for example of one network on two runtimes.

    Clips are matched by path and first frame.

    \b
    Exit status: 0 all clips agree, 1 a clip differs by more than --within, in its verdict, or is in one table only.
    """
    from eulernet.evaluation.comparison import compare as compare_scores
    from eulernet.evaluation.scores import ScoresError, read_scores

    same = True
    try:
        ours = read_scores(first)
        for other in others:
            result = compare_scores(ours, read_scores(other), threshold)
            same &= result.within(within)
            _print_comparison(result, first, other)
    except ScoresError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the same within {within:g}" if same else f"not the same within {within:g}")
    raise SystemExit(0 if same else 1)


def write_and_print(evaluation: "Evaluation", out: Path) -> None:
    """Writes the report and prints its main figures. Raises: click.ClickException, if it can't be written."""
    from eulernet.evaluation.report import write_report

    try:
        written = write_report(evaluation, out)
    except OSError as error:
        raise click.ClickException(f"{error.filename2 or out}: can't be written ({error.strerror})") from error
    for warning in evaluation.warnings:
        click.echo(f"warning: {warning}", err=True)
    for result in evaluation.protocols:
        _print_result(result, evaluation.simulated)
    for stress in evaluation.stress:
        _print_stress(stress, evaluation.simulated)
    click.echo(f"written: {', '.join(map(str, written))}")


def _print_result(result: "ProtocolResult", simulated: bool) -> None:
    from eulernet.evaluation.completeness import INCOMPLETE, Key
    from eulernet.evaluation.report_tables import (
        ABSENT,
        incomplete_note,
        interval_text,
        marked,
        spread_text,
        value_text,
    )
    from eulernet_core.attack_detection_metrics import FIGURES

    click.echo(marked(result.title, simulated))
    for fold in result.folds:
        name = f"fold {fold.name}: " if len(result.folds) > 1 else ""
        click.echo(f"  {name}threshold {fold.threshold:.6f}{', given' if fold.given else ''}")
    if result.missing:
        click.echo(f"  {incomplete_note(result)}")
    for name, title in FIGURES.items():
        key, estimate = Key(name), result.summary[Key(name)]
        spread = f" {spread_text(key, estimate):<9}" if estimate.spread is not None else ""
        value = value_text(key, estimate.value)
        limits = interval_text(key, estimate)
        interval = "" if limits == ABSENT else f"   95 %: {limits}"
        mark = f"   {INCOMPLETE}" if estimate.missing else ""
        click.echo(f"  {title:<34}{value:>10}{spread}{mark}{interval}")


def _print_stress(stress: "StressResult", simulated: bool) -> None:
    from eulernet.evaluation.report_tables import ABSENT, marked

    click.echo(marked(stress.title, simulated))
    for name, value, spread, limits in stress.lines():
        interval = "" if limits == ABSENT else f"   95 %: {limits}"
        click.echo(f"  {name:<34}{value:>10}{f' {spread:<9}' if spread else ''}{interval}")


def _print_comparison(result: "Comparison", first: Path, other: Path) -> None:
    click.echo(f"{first} and {other}: {result.clips} clips in both")
    click.echo(f"  largest difference {result.largest:.3g} ({result.where}), mean {result.mean:.3g}")
    click.echo(f"  different verdicts: {len(result.flipped)}{_named(result.flipped)}")
    for path, clips in ((first, result.only_one), (other, result.only_other)):
        if clips:
            click.echo(f"  only in {path}: {len(clips)}{_named(clips)}")


def _named(clips: "tuple[Clip, ...]") -> str:
    more = ", …" if len(clips) > SHOWN else ""
    return f" ({', '.join(map(str, clips[:SHOWN]))}{more})" if clips else ""
