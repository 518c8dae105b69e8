# SPDX-License-Identifier: Apache-2.0
"""Compares this load tester with perf_analyzer. They run by turns, so that both see the machine in the same state."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from eulernet_loadtest import perf_data
from eulernet_loadtest.perf_analyzer import Job, measure
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.results import OURS, PERF_ANALYZER, Run
from eulernet_loadtest.runner import Runner


def by_turns(
    runner: Runner, plans: Sequence[Plan], rounds: int, binary: Path, url: str, out: Path, access: Sequence[str] = ()
) -> list[Run]:
    """Runs each plan with this load tester, then with perf_analyzer, `rounds` times; keeps the CSV files in `out`.

    `access`: perf_analyzer's arguments for TLS and headers.

    Raises:
        PerfAnalyzerError: perf_analyzer did not run.
    """
    runs: list[Run] = []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eulernet-perf-data-") as folder:
        data = {mode: Path(folder) / f"{mode.value}.json" for mode in Mode}
        for mode in {plan.mode for plan in plans}:
            perf_data.write(data[mode], runner.traffic, mode)
        for number, plan in product(range(1, rounds + 1), plans):
            runs += runner.run([plan])
            assert plan.concurrency is not None  # perf_analyzer can't pace the frames of an open loop
            job = Job(plan.mode, plan.concurrency, plan.duration_s, url, data[plan.mode], tuple(access))
            runs.append(measure(binary, job, out / f"perf_analyzer.{plan.mode.value}.{plan.concurrency}.{number}.csv"))
    return runs


@dataclass(frozen=True)
class Agreement:
    """Throughput of this load tester relative to perf_analyzer: a line for each load, the largest difference in %."""

    lines: tuple[str, ...]
    worst_percent: float


def agreement(runs: Sequence[Run]) -> Agreement:
    """Compares the median throughput of each load over its rounds. Positive: this load tester measured more.

    Counts answers, scored or not, as perf_analyzer does. Loads are not averaged: an excess at one load must not hide a
    deficit at another.

    Raises:
        ValueError: no load was measured by both tools.
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
    lines.append(f"largest difference between eulernet loadtest and perf_analyzer: {worst:+.1f} %")
    return Agreement(tuple(lines), worst)
