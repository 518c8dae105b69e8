# SPDX-License-Identifier: Apache-2.0
"""The short form of `make fuzz` on the real server, and a process that dies under it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from click.testing import CliRunner

from benchmarks.reliability.__main__ import main
from benchmarks.reliability.fuzz_run import Settings, fuzz
from benchmarks.reliability.reliability_page import FUZZ_FILE, fuzz_failures
from benchmarks.reliability.supervised_server import SupervisedServer

pytestmark = pytest.mark.triton

INPUTS, QUIET_S = 500, 6
MOST_MINUTES = 1.5


def test_nothing_that_one_caller_sends_costs_another_anything(repository, tmp_path):
    options = ["--no-costs", "--no-faults", "--guided-runs=0", f"--quiet-s={QUIET_S}", f"--minutes={MOST_MINUTES}"]
    arguments = ["fuzz", f"--inputs={INPUTS}", "--seed=2", f"--repository={repository}", f"--out={tmp_path}", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / FUZZ_FILE).read_text())
    assert found["attack"]["sent"]["count"] > 100
    assert all(each["outcomes"].keys() == {"same"} for each in found["attack"]["neighbours"].values())
    assert not (tmp_path / "misbehaved").exists()
    assert (tmp_path / "reliability.md").is_file()


@pytest.mark.slow
def test_a_process_that_dies_is_noticed_and_the_latest_inputs_are_saved(repository, tmp_path):
    with SupervisedServer(repository, tmp_path) as server:

        def kill_one() -> None:
            records = tmp_path / "neighbours.jsonl"
            while not (records.is_file() and records.stat().st_size):  # good callers run, and the attack begins
                time.sleep(0.1)
            time.sleep(1)
            os.kill(server.pids()["clip_crop"], signal.SIGKILL)

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        attack = fuzz(server, Settings(100_000, 2, 60, 0), [], tmp_path)
        killer.join()
    assert any("clip_crop" in each for each in attack["crashes"])
    saved = list((tmp_path / "misbehaved").glob("*.txt"))
    assert saved
    assert "--seed 2 --only" in saved[0].read_text()
    assert server.survivors == []
    results = {"attack": attack, "guided": {"failures": []}, "costs": []}
    assert any("clip_crop" in each for each in fuzz_failures(results))
