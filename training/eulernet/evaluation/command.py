"""`eulernet metrics`: the figures of ISO/IEC 30107-3 from score tables alone, and two score tables side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from eulernet.evaluation.comparison import Clip, Comparison
    from eulernet.evaluation.protocols import ProtocolResult
    from eulernet.evaluation.report import Evaluation

TABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
SHOWN = 3  # clips that are named of each kind


@click.group()
def metrics() -> None:
    """Work on score tables, the CSV files that `eulernet evaluate` writes or that other systems' scores are put into.

    Their columns are path, name, label, instrument, subject, phone, session, split, start, liveness; a row is a clip.
    """


@metrics.command()
@click.argument("scores", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="Folder for metrics.json, metrics.md and metrics.html.")
@click.option(
    "--per",
    type=click.Choice(["video", "clip"]),
    default="video",
    show_default=True,
    help="What counts as a presentation: a path with the mean of its rows, or a row.",
)
@click.option("--system", help="What was scored, for the heading. [what about.json says, or the folder's name]")
@click.option("--simulated", is_flag=True, help="Mark every figure as one of simulated data, also without about.json.")
@click.option(
    "--resamples", type=click.IntRange(1), default=2000, show_default=True, help="Draws behind the 95 % intervals."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of those draws.")
def report(
    scores: Path,
    out: Path,
    per: Literal["video", "clip"],
    system: str | None,
    simulated: bool,
    resamples: int,
    seed: int,
) -> None:
    """Compute APCER, BPCER, ACER, HTER, EER and their intervals from the tables in the folder SCORES.

    SCORES holds dev.csv and test.csv; or, for OULU-NPU's protocols, protocol_1_dev.csv and protocol_1_test.csv,
    protocol_3_fold_1_dev.csv and so on. Thresholds come from dev scores alone, where both error rates are equal.

    \b
    Exit status: 0 the report is written, 1 a table can't be used, 2 wrong usage.
    """
    from dataclasses import replace

    from eulernet.evaluation.folder import evaluate_folder
    from eulernet.evaluation.metrics import MetricsError
    from eulernet.evaluation.scores import ScoresError

    try:
        evaluation = evaluate_folder(scores, per, resamples, seed)
    except (ScoresError, MetricsError) as error:
        raise click.ClickException(str(error)) from error
    about = evaluation.about
    marked = replace(about, system=system or about.system, simulated=simulated or about.simulated)
    write_and_print(replace(evaluation, about=marked), out)


@metrics.command()
@click.argument("first", type=TABLE)
@click.argument("others", type=TABLE, nargs=-1, required=True)
@click.option(
    "--within",
    type=click.FloatRange(0),
    default=1e-4,
    show_default=True,
    help="Difference of liveness that is allowed.",
)
@click.option(
    "--threshold", type=float, default=0.5, show_default=True, help="Liveness from here up is a decision for live."
)
def compare(first: Path, others: tuple[Path, ...], within: float, threshold: float) -> None:
    """Compare the score table FIRST with OTHERS, clip by clip: do two ways to run one network say the same?

    Clips are matched by path and first frame.

    \b
    Exit status: 0 all say the same, 1 a clip is further apart than --within, judged differently, or in one table only.
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
    """Writes the report and shows its main figures. Raises: click.ClickException where it can't be written."""
    from eulernet.evaluation.report import write_report

    try:
        written = write_report(evaluation, out)
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: can't be written ({error.strerror})") from error
    for warning in evaluation.warnings:
        click.echo(f"warning: {warning}", err=True)
    for result in evaluation.protocols:
        _print_result(result, evaluation.simulated)
    click.echo(f"written: {', '.join(map(str, written))}")


def _print_result(result: "ProtocolResult", simulated: bool) -> None:
    from eulernet.evaluation.layout import ABSENT, interval_text, marked, spread_text, value_text
    from eulernet.evaluation.metrics import FIGURES
    from eulernet.evaluation.protocols import Key

    click.echo(marked(result.title, simulated))
    for fold in result.folds:
        click.echo(f"  {f'fold {fold.name}: ' if len(result.folds) > 1 else ''}threshold {fold.threshold:.6f}")
    for name, title in FIGURES.items():
        key, estimate = Key(name), result.summary[Key(name)]
        spread = f" {spread_text(key, estimate):<9}" if estimate.spread is not None else ""
        value = value_text(key, estimate.value)
        limits = interval_text(key, estimate)
        interval = "" if limits == ABSENT else f"   95 %: {limits}"
        click.echo(f"  {title:<34}{value:>10}{spread}{interval}")


def _print_comparison(result: "Comparison", first: Path, other: Path) -> None:
    click.echo(f"{first} and {other}: {result.clips} clips in both")
    click.echo(f"  largest difference {result.largest:.3g} ({result.where}), mean {result.mean:.3g}")
    click.echo(f"  judged differently: {len(result.flipped)}{_named(result.flipped)}")
    for path, clips in ((first, result.only_one), (other, result.only_other)):
        if clips:
            click.echo(f"  only in {path}: {len(clips)}{_named(clips)}")


def _named(clips: "tuple[Clip, ...]") -> str:
    more = ", …" if len(clips) > SHOWN else ""
    return f" ({', '.join(map(str, clips[:SHOWN]))}{more})" if clips else ""
