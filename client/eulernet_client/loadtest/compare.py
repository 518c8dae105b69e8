"""Our load tester and perf_analyzer by turns, so that both see the machine in the same state."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from eulernet_client.loadtest import perf_data
from eulernet_client.loadtest.perf_analyzer import Job, measure
from eulernet_client.loadtest.plan import Mode, Plan
from eulernet_client.loadtest.results import OURS, PERF_ANALYZER, Run
from eulernet_client.loadtest.runner import Runner


def by_turns(runner: Runner, plans: Sequence[Plan], rounds: int, binary: Path, url: str, out: Path) -> list[Run]:
    """Each plan with our tester, then with perf_analyzer, and all of it `rounds` times; its CSV files stay in `out`.

    Raises:
        PerfAnalyzerError: it did not run.
    """
    runs: list[Run] = []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eulernet-perf-data-") as folder:
        data = {mode: Path(folder) / f"{mode.value}.json" for mode in Mode}
        for mode in {plan.mode for plan in plans}:
            perf_data.write(data[mode], runner.traffic, mode)
        for number, plan in product(range(1, rounds + 1), plans):
            runs += runner.run([plan])
            assert plan.concurrency is not None  # perf_analyzer has no open loop that paces frames
            job = Job(plan.mode, plan.concurrency, plan.duration_s, url, data[plan.mode])
            runs.append(measure(binary, job, out / f"perf_analyzer.{plan.mode.value}.{plan.concurrency}.{number}.csv"))
    return runs


@dataclass(frozen=True)
class Agreement:
    """How our throughput stands to perf_analyzer's: a line a load, and the largest difference of all, in percent."""

    lines: tuple[str, ...]
    worst_percent: float


def agreement(runs: Sequence[Run]) -> Agreement:
    """Compares each load's median over its rounds; above 0: ours measured more. Counts answers, as the other tool does.

    Loads are not averaged: one that is too high must not make up for one that is too low.

    Raises:
        ValueError: no load was measured by both.
    """
    medians: dict[str, dict[str, float]] = {}
    for run in runs:
        same = [each.answered_fps for each in runs if (each.load, each.tool) == (run.load, run.tool)]
        medians.setdefault(run.load, {})[run.tool] = median(same)
    lines, differences = [], []
    for load, fps in medians.items():
        if OURS in fps and fps.get(PERF_ANALYZER, 0) > 0:
            differences.append(100 * (fps[OURS] / fps[PERF_ANALYZER] - 1))
            lines.append(f"{load}: {fps[OURS]:.1f} and {fps[PERF_ANALYZER]:.1f} frames/s, {differences[-1]:+.1f} %")
    if not differences:
        raise ValueError("no load was measured by both tools")
    worst = max(differences, key=abs)
    lines.append(f"eulernet loadtest against perf_analyzer: {worst:+.1f} % at the most")
    return Agreement(tuple(lines), worst)
