# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the reliability runs on hand-made results: each kind of failure is reported, and clean runs are not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from benchmarks.reliability.reliability_page import (
    FUZZ_FILE,
    LEAKS_FILE,
    delay_s,
    disturbed,
    fuzz_failures,
    leak_failures,
    write_page,
)
from benchmarks.reliability.resource_samples import LEAST_GROWTH, growth
from benchmarks.reliability.supervised_server import BAD_LINES

CALLS = {"calls": 100, "outcomes": {"same": 100}, "p50_ms": 20.0, "p99_ms": 100.0, "details": []}
ABOUT = {
    "created": "2000-01-01 00:00 UTC",
    "machine": {"processor": "abacus", "cores": 2, "system": "none", "python": "3"},
    "versions": {"triton": "0"},
    "weights": "none",
}


def clean_fuzz() -> dict[str, Any]:
    sent = {"count": 200, "seconds": 9.0, "families": {"jpeg": 150, "protocol": 50}, "misbehaved": []}
    ways = [f"{phase} {way}" for phase in ("quiet", "attack") for way in ("clip", "frame")]
    attack = {"sent": sent, "crashes": [], "ready": True, "bad_lines": [], "hangs": 0}
    faults = [{"process": "tritonserver", "signal": "SIGKILL", "ready_after_s": 4.0}]
    cost = {"name": "dear", "request_bytes": 900_000, "cpu_s": 0.9, "wall_s": 1.0, "status": [0, 0, 0, 0]}
    return ABOUT | {
        "settings": {"inputs": 200, "seed": 1},
        "guided": {"installed": True, "runs": 10, "inputs": 1, "failures": []},
        "costs": [cost],
        "attack": attack | {"neighbours": {way: copy.deepcopy(CALLS) for way in ways}},
        "faults": {"faults": faults, "neighbours": {"faults clip": copy.deepcopy(CALLS)}},
    }


def clean_leaks() -> dict[str, Any]:
    sample = {"tritonserver memory": 2e8, "supervisor memory": 5e7, "client memory": 8e7, "eulernet memory": 1e8}
    return {
        "minutes": 10.0,
        "faults": [{"process": "eulernet", "signal": "SIGKILL", "at_s": 24.0, "ready_after_s": 5.0}],
        "inputs": 1000,
        "neighbours": {"mixed clip": copy.deepcopy(CALLS)},
        "growth": [{"name": "client memory", "first": 8e7, "last": 8.1e7, "share": 0.0125, "leak": False}],
        "left": {"processes": [], "shared memory": [], "temporary files": [], "exit status": 0},
        "samples": [{"at_s": t, "shared memory": 1e7, "temporary files": 2, **sample} for t in (1.0, 2.0)],
    }


def test_clean_results_have_no_failures():
    assert fuzz_failures(clean_fuzz()) == []
    assert leak_failures(clean_leaks()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("attack", "crashes"), ["eulernet died"]),
        (("attack", "bad_lines"), ["Traceback (most recent call last):"]),
        (("attack", "ready"), False),
        (("attack", "sent", "misbehaved"), [{"number": 7, "family": "jpeg", "kind": "flip", "fault": "INTERNAL: x"}]),
        (("attack", "neighbours", "attack clip", "outcomes"), {"same": 99, "changed": 1}),
        (("attack", "neighbours", "quiet frame", "outcomes"), {"same": 99, "failed": 1}),
        (("attack", "neighbours", "attack frame", "p99_ms"), 1101.0),
        (("guided", "failures"), ["crash-1"]),
        (("costs", 0, "cpu_s"), 1.01),
        (("faults", "neighbours", "faults clip", "outcomes"), {"failed": 100}),
    ],
)
def test_each_kind_of_failure_is_reported(path, value):
    results = clean_fuzz()
    place: Any = results
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert len(fuzz_failures(results)) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("growth", 0, "leak"), True),
        (("left", "processes"), ["eulernet"]),
        (("left", "shared memory"), ["eulernet_1_x"]),
        (("left", "temporary files"), ["eulernet-serve-x"]),
        (("left", "exit status"), 1),
        (("neighbours", "mixed clip", "outcomes"), {"same": 99, "failed": 1}),
    ],
)
def test_each_kind_of_leak_is_reported(path, value):
    results = clean_leaks()
    place: Any = results
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert len(leak_failures(results)) == 1


def test_the_delay_is_that_of_the_worse_way():
    figures = clean_fuzz()["attack"]["neighbours"]
    figures["attack frame"]["p99_ms"] = 350.0
    figures["attack clip"]["p99_ms"] = 50.0
    assert delay_s(figures) == pytest.approx(0.25)
    assert disturbed(figures) == 0


def samples(name: str, values: list[float]) -> list[tuple[float, dict[str, float]]]:
    return [(float(t), {name: value}) for t, value in enumerate(values)]


@pytest.mark.parametrize(
    ("name", "before", "after", "leak"),
    [
        ("client memory", 100e6, 104e6, False),
        ("client memory", 100e6, 106e6, True),
        ("client memory", 10e6, 11e6, False),
        ("client descriptors", 10, 12, False),
        ("client descriptors", 10, 13, True),
        ("eulernet threads", 100, 60, False),
        ("shared memory", 10e6, 20e6, True),
        ("temporary files", 0, 1, True),
    ],
)
def test_growth_counts_from_a_share_and_an_amount_on(name, before, after, leak):
    found = growth(samples(name, [before] * 5 + [after] * 5), name, (0, 5), (5, 10))
    assert (found.first, found.last, found.leak) == (before, after, leak)
    assert any(name.endswith(each) for each in LEAST_GROWTH)


def test_freed_memory_that_an_allocator_keeps_for_a_while_is_no_leak():
    name, freed, kept = "face_locate memory", 28e6, 38e6
    often_freed = [freed, freed, freed, kept, kept]
    often_kept = [freed, kept, kept, kept, kept]
    assert not growth(samples(name, often_freed + often_kept), name, (0, 5), (5, 10)).leak
    leaking = [each * 1.1 for each in often_freed]
    assert growth(samples(name, often_freed + leaking), name, (0, 5), (5, 10)).leak


def test_a_window_without_samples_is_an_error():
    with pytest.raises(ValueError, match="client memory"):
        growth(samples("client memory", [1.0]), "client memory", (0, 1), (5, 6))


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("Traceback (most recent call last):", True),
        ("terminate called after throwing an instance of 'boost::interprocess::lock_exception'", True),
        ("Signal (11) received.", True),
        ("2026-01-01 WARNING eulernet_serving.supervisor restart 1 of at most 5 in 0.5 s: died", True),
        ("eulernet (process 7) died: SIGKILL", True),
        ("INFO eulernet_serving.face_locating frame can't be decoded exception=error", False),
        ("I1127 model_lifecycle.cc:849] \"successfully loaded 'eulernet'\"", False),
    ],
)
def test_bad_lines_of_the_log(line, bad):
    assert bool(BAD_LINES.search(line)) is bad


def test_the_page_is_written_from_either_run_or_both(tmp_path):
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    (out / FUZZ_FILE).write_text(json.dumps(clean_fuzz()))
    assert "Not measured" in write_page(out, None).read_text()
    (out / LEAKS_FILE).write_text(json.dumps(clean_leaks()))
    text = write_page(out, docs).read_text()
    assert "Not measured" not in text
    assert "Not everything held" not in text
    assert "abacus" in text
    assert {each.name for each in docs.iterdir()} == {"reliability.md", "reliability_memory.svg"}
    broken = clean_fuzz()
    broken["attack"]["crashes"] = ["face_crop died"]
    (out / FUZZ_FILE).write_text(json.dumps(broken))
    assert "face_crop died" in write_page(out, None).read_text()
