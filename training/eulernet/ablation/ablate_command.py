# SPDX-License-Identifier: Apache-2.0
"""`eulernet ablate`: the slides' ablation and the folds of protocols."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet.command_options import EXISTING_FOLDER, FILE, FOLDER, crops_option, face_models_option, jobs_option

if TYPE_CHECKING:
    from eulernet.ablation.plan import Run
    from eulernet.ablation.results import Row
    from eulernet.ablation.runner import Bench, Watcher
    from eulernet.learning.settings import Settings

SEEDS = 3


@click.command()
@click.argument("recipe", default="small")
@click.option("--data", type=EXISTING_FOLDER, help="Data set in OULU-NPU's layout.")
@click.option("--only", multiple=True, metavar="TAG", help="A variant, C1 to C5 or full; may be repeated.  [all six]")
@click.option("--protocols", metavar="LIST", help="Protocols such as 3,4: train the full model on all their folds.")
@click.option(
    "--seeds", type=click.IntRange(1), help=f"Number of seeds, from the recipe's.  [{SEEDS}; 1 with --protocols]"
)
@click.option("--runs", type=click.IntRange(1), help="Stop after this number of runs.")
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Stop before an epoch that would exceed this time."
)
@click.option("--results", type=FILE, default="training/results/ablation.csv", show_default=True)
@click.option("--markdown", type=FILE, help="Also write the tables to this file.")
@click.option("--table", is_flag=True, help="Only show the results; with --data, the results for that data and RECIPE.")
@click.option("--out", type=FOLDER, default="out/ablation", show_default=True, help="Folder of runs and pictures.")
@crops_option
@face_models_option
@jobs_option
@click.option("--threads", type=click.IntRange(1), help="Training threads.  [one per core]")
def ablate(
    recipe: str,
    data: Path | None,
    only: tuple[str, ...],
    protocols: str | None,
    seeds: int | None,
    runs: int | None,
    minutes: float | None,
    results: Path,
    markdown: Path | None,
    table: bool,
    out: Path,
    crops: Path,
    face_models: Path,
    jobs: int,
    threads: int | None,
) -> None:
    """Train the slides' variants C1 to C5 and the full model with equal settings, and compare with the slides' table.

    RECIPE: a TOML file or a shipped recipe, as for `eulernet train`; small by default. Each run sets seed, protocol,
    fold, label, fcam and pyramid.

    A finished run has a row in --results and is not repeated. A run that was stopped or killed resumes from its last
    epoch. Several of these commands can share the work: start the command again, with --threads 1.
    """
    from eulernet.ablation.results import ResultsError, read_rows
    from eulernet.ablation.runner import Bench, Clock, Places, sweep
    from eulernet.datasets import DatasetError
    from eulernet.faces import FaceModelsError
    from eulernet.learning.settings import SettingsError, find_recipe, read_settings
    from eulernet.learning.trainer import TrainingError
    from eulernet_core.attack_detection_metrics import MetricsError

    if data is None and not table:
        raise click.UsageError("give --data DIR to train, or --table to show the results")
    clock = Clock(minutes)
    try:
        settings = read_settings(find_recipe(recipe)) if data else None
        if data and settings and not table:
            plan = _plan(settings, only, protocols, seeds)
            bench = Bench(settings, Places(data, out, crops, face_models), plan, jobs)
            if len(bench.problems):
                click.echo(bench.problems.summary(), err=True)
            with _threads(threads), _watching(bench, plan, results) as watcher:
                sweep(bench, plan, results, watcher, clock, runs)
        rows = read_rows(results)
        if data and settings:
            rows = _of(rows, settings, data)
    except (SettingsError, DatasetError, FaceModelsError, TrainingError, MetricsError, ResultsError) as error:
        raise click.ClickException(str(error)) from error
    _show(rows, results, out, markdown)


def _plan(settings: "Settings", only: Sequence[str], protocols: str | None, seeds: int | None) -> "list[Run]":
    from eulernet.ablation.plan import BY_TAG, FULL, fold_runs, variant_runs

    unknown = [tag for tag in only if tag not in BY_TAG]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r}: choose from {', '.join(BY_TAG)}", param_hint="--only")
    numbers = range(settings.seed, settings.seed + (seeds or (1 if protocols else SEEDS)))
    if protocols is None:
        return variant_runs(only or tuple(BY_TAG), numbers)
    chosen = protocols.split(",")
    if not all(each in ("1", "2", "3", "4") for each in chosen):
        raise click.BadParameter(f"{protocols!r}: give numbers from 1 to 4, such as 3,4", param_hint="--protocols")
    return fold_runs([int(each) for each in chosen], only or (FULL,), numbers)


def _of(rows: "list[Row]", settings: "Settings", data: Path) -> "list[Row]":
    from eulernet.ablation.identity import data_identity, recipe_digest

    origin = recipe_digest(settings), data_identity(data).digest
    return [row for row in rows if row.origin == origin]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _watching(bench: "Bench", plan: "Sequence[Run]", results: Path) -> "Iterator[Watcher]":
    """Progress bars for the runs and for the batches of the current run."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from eulernet.ablation.runner import Watcher, missing

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = len(missing(bench, plan, results))
    click.echo(f"{len(plan)} runs planned, {len(plan) - left} of them finished before")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        every, one = bar.add_task("runs", total=left), bar.add_task("batches", total=None)

        yield Watcher(
            click.echo,
            begin=lambda run, steps: bar.reset(one, total=steps, description=str(run)),
            step=lambda: bar.advance(one),
            end=lambda: bar.advance(every),
        )


def _show(rows: "Sequence[Row]", results: Path, out: Path, target: Path | None) -> None:
    from eulernet.ablation.tables import by_origin, compare, curves, markdown, text
    from eulernet.learning.curve import draw_curves
    from eulernet_core.whole_files import write_whole_text

    if not rows:
        click.echo(f"{results}: no finished run of this recipe and data set yet")
        return
    comparisons = [compare(each) for each in by_origin(rows).values()]
    for comparison in comparisons:
        click.echo(f"\n{text(comparison)}")
    written = []
    for origin, each in by_origin(rows).items():
        if lines := curves(each):
            written.append(out / "-".join(origin) / "dev_eer.png")
            draw_curves(lines, written[-1], f"Dev EER by epoch{' (simulated data)' if each[0].simulated else ''}")
    if target:
        write_whole_text(target, markdown(comparisons))
        written.append(target)
    if written:
        click.echo(f"\nwritten: {', '.join(map(str, written))}")
