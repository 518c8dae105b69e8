# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.reliability`: attacks the real server, or searches it for leaks; both render reliability.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks import pages
from benchmarks.pages import FOLDER, say
from benchmarks.reliability import reliability_page as page
from benchmarks.reliability.fault_run import faults_beside_callers
from benchmarks.reliability.fuzz_run import Settings, fuzz
from benchmarks.reliability.guided_fuzzing import guided
from benchmarks.reliability.leak_run import find_leaks
from benchmarks.reliability.processor_time import measure_costs
from benchmarks.reliability.supervised_server import SupervisedServer
from eulernet_serving.cpu_repository import assemble

SECONDS = click.FloatRange(min=0)
COUNT = click.IntRange(min=0)
GUIDED_LIMIT_S = 60


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option(
            "--out", type=FOLDER, default=Path("out", "reliability"), show_default=True, help="For all results."
        ),
        click.option("--docs", type=FOLDER, help="Folder for a copy of reliability.md and its plot."),
        click.option("--seed", type=COUNT, default=1, show_default=True, help="Of all inputs."),
        click.option("--repository", type=FOLDER, help="A complete repository; assembled in --out by default."),
        click.option("--no-measure", is_flag=True, help="Render the page from the results in --out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Test on the real server that nothing a caller sends costs another caller anything, and that nothing leaks."""


@main.command("fuzz")
@click.option("--inputs", type=COUNT, default=10_000, show_default=True, help="Number of inputs to send.")
@click.option("--minutes", type=SECONDS, default=60.0, show_default=True, help="Send for no longer than this.")
@click.option("--quiet-s", type=SECONDS, default=30.0, show_default=True, help="Good callers alone, before the attack.")
@click.option("--guided-runs", type=COUNT, default=300_000, show_default=True, help="Runs of the coverage-guided part.")
@click.option("--costs/--no-costs", default=True, show_default=True, help="Measure processor time of costly pictures.")
@click.option("--faults/--no-faults", default=True, show_default=True, help="Kill and stop each process in the end.")
@click.option("--only", type=COUNT, multiple=True, help="Send this input alone; repeat it for several.")
@_shared_options
def fuzz_command(
    inputs: int,
    minutes: float,
    quiet_s: float,
    guided_runs: int,
    costs: bool,
    faults: bool,
    only: tuple[int, ...],
    out: Path,
    docs: Path | None,
    seed: int,
    repository: Path | None,
    no_measure: bool,
) -> None:
    """Attack the server beside good callers, and compare these callers' answers and latencies with those before.

    Exit status: 1 if a process died, a request hung, a bad frame got no STATUS, or a good caller noticed.
    """
    if not no_measure:
        out.mkdir(parents=True, exist_ok=True)
        settings = Settings(inputs, seed, 60 * minutes, quiet_s)
        repository = repository or assemble(out / "model_repository")
        results = _fuzzed(out, repository, settings, guided_runs, costs, faults, only)
        if only:
            _end(page.fuzz_failures(results))
        pages.write_json(results, out / page.FUZZ_FILE)
    say(f"page: {page.write_page(out, docs)}")
    _end(page.fuzz_failures(pages.read_json(out / page.FUZZ_FILE)))


def _fuzzed(
    out: Path,
    repository: Path,
    settings: Settings,
    guided_runs: int,
    costs: bool,
    faults: bool,
    only: tuple[int, ...],
) -> dict[str, Any]:
    """The content of fuzz.json."""
    found = guided(out / "guided", guided_runs, settings.seed, GUIDED_LIMIT_S)
    if not found.installed:
        say("atheris is not installed (pip install '.[fuzz]'): the coverage-guided part is left out")
    say(f"coverage-guided: {len(found.inputs)} inputs, {len(found.failures)} failures")
    measured = measure_costs(repository, out / "costs.log", out / "costly") if costs else []
    for cost in measured:
        say(f"{cost.cpu_s:.2f} s of processor time: {cost.name}, {cost.request_bytes:,} bytes")
    with SupervisedServer(repository, out) as server:
        results = page.about(server.endpoints.url)
        attack = fuzz(server, settings, found.inputs, out, only or None)
        seen = faults_beside_callers(server, settings.seed, out) if faults and not only else None
    return results | {
        "settings": vars(settings),
        "guided": {
            "installed": found.installed,
            "runs": found.runs,
            "inputs": len(found.inputs),
            "failures": found.failures,
        },
        "costs": [asdict(each) for each in measured],
        "attack": attack,
        "faults": seen,
    }


@main.command("leaks")
@click.option("--minutes", type=click.FloatRange(min=2), default=10.0, show_default=True, help="Length of the run.")
@_shared_options
def leaks_command(
    minutes: float, out: Path, docs: Path | None, seed: int, repository: Path | None, no_measure: bool
) -> None:
    """Put mixed load on the server, with faults, and sample its processes each second.

    Exit status: 1 if something grew by more than 5 % after the first fifth of the run, or was left in the end.
    """
    if not no_measure:
        out.mkdir(parents=True, exist_ok=True)
        repository = repository or assemble(out / "model_repository")
        pages.write_json(find_leaks(repository, minutes, seed, out), out / page.LEAKS_FILE)
    say(f"page: {page.write_page(out, docs)}")
    _end(page.leak_failures(pages.read_json(out / page.LEAKS_FILE)))


def _end(failures: list[str]) -> None:
    for each in failures:
        click.echo(f"FAILED: {each}", err=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
