# SPDX-License-Identifier: Apache-2.0
"""The page of the capacity model: rounds are combined, loads are judged, fleets are simulated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.planning.__main__ import main
from benchmarks.planning.planning_loads import FPS, PACED_REQUESTS, closed, figures, paced
from eulernet_loadtest.plan import Arrivals, Mode
from tests.loadtest.test_plan_command import closed as closed_runs
from tests.loadtest.test_plan_command import paced as paced_run
from tests.loadtest.test_plan_command import report

MACHINE = {"system": "Linux", "processor": "P", "cores": 2, "load_average": 0.1, "python": "3.11"}
SURROUNDINGS = {"created": "2026-01-01 00:00 UTC", "machine": MACHINE, "versions": {"triton": "2.51.0"}, "weights": "w"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds: four streams as the model has them, five that are far slower."""
    folder = tmp_path_factory.mktemp("planning")
    loops = closed_runs(Mode.STREAMS)
    for number, latency_ms in ((1, 11.0), (2, 13.0)):
        report(folder / f"round-{number}", *loops, paced_run(4, latency_ms), paced_run(5, 200.0))
    results = {
        **SURROUNDINGS,
        "other_cores": 0.5,
        "reports": ["round-1/report.json", "round-2/report.json"],
        "settings": {"seconds": 4.0, "rounds": 2, "bytes_per_frame": 70_000.0},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_rounds_are_combined(out: Path) -> None:
    good, bad = figures([out / "round-1" / "report.json", out / "round-2" / "report.json"])
    assert good.load == "4 streams at 10 fps"
    assert good.lowest_p99_ms < good.measured_p99_ms < good.highest_p99_ms
    assert good.p99_error == pytest.approx(good.p99_ms / good.measured_p99_ms - 1)
    assert good.agrees
    assert not bad.agrees


def test_the_page_judges_each_load(out: Path) -> None:
    done = CliRunner().invoke(
        main, ["--out", str(out), "--no-measure", "--largest-fleet", "10"], catch_exceptions=False
    )
    assert done.exit_code == 0
    page = (out / "planning.md").read_text()
    assert "machine was not idle" in page
    assert re.search(r"^\| 4 streams at 10 fps \|.*\| yes \|$", page, re.MULTILINE)
    assert re.search(r"^\| 5 streams at 10 fps \|.*\| \*\*no\*\* \|$", page, re.MULTILINE)
    assert "Of 2 loads the model predicts the p99 of **1**" in page
    rows = re.findall(r"^\| (\d+) \| \d+ \| (even|gateway|zone lost) \|", page, re.MULTILINE)
    assert rows == [("10", "even"), ("10", "gateway"), ("6", "zone lost")]


def test_a_paced_load_lasts_until_its_p99_rests_on_enough_requests() -> None:
    slow, fast = (paced(Mode.STREAMS, rate, 10, 1) for rate in (20, 1000))
    assert slow.concurrency == 20 / FPS
    assert slow.duration_s == PACED_REQUESTS / 20
    assert fast.duration_s == 10
    clips, lone = paced(Mode.CLIPS, 5, 10, 2), paced(Mode.CLIPS, 5, 10, 2, lone=True)
    assert (clips.arrivals, lone.arrivals) == (Arrivals.POISSON, Arrivals.CONSTANT)
    assert clips.seed == 2
    assert closed(Mode.CLIPS, 4, 8).warm_up_s == 2
