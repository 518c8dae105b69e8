# SPDX-License-Identifier: Apache-2.0
"""Verdicts on the results of both runs, and the page reliability.md with its plot."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks import pages
from benchmarks.pages import STYLE, panels, save
from benchmarks.reliability.costly_pictures import MAX_REQUEST_BYTES
from benchmarks.reliability.neighbours import CLIP_CALLERS, FAILED, SAME, STREAMS
from benchmarks.reliability.resource_samples import ALLOWED_GROWTH, SHARED_MEMORY
from benchmarks.reliability.supervised_server import SUPERVISOR
from benchmarks.reliability.wire import HANG_S
from benchmarks.rig import PACKAGES
from eulernet_client import Client
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.results import Machine
from eulernet_serving.process_watch import SERVER

TEMPLATE = Path(__file__).with_name("reliability.md.j2")
PLOT = "reliability_memory"
FUZZ_FILE, LEAKS_FILE = "fuzz.json", "leaks.json"
MAX_DELAY_S, MAX_CPU_S = 1.0, 1.0
MB = 1e6


def about(url: str) -> dict[str, Any]:
    """Date, machine, versions and weights, for the results."""
    with Client(url) as client:
        version, weights = client.server_version(), client.weights()
    return {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": vars(Machine.here()),
        "versions": {"triton": version, **{name: metadata.version(name) for name in PACKAGES}},
        "weights": weights,
    }


def delay_s(figures: dict[str, Any]) -> float:
    """How much later the good callers' 99th percentile came than without the attack; the worse of clips and frames."""
    ways = ("clip", "frame")
    return float(max(figures[f"attack {way}"]["p99_ms"] - figures[f"quiet {way}"]["p99_ms"] for way in ways) / 1000)


def disturbed(figures: dict[str, Any]) -> int:
    """Calls of good callers that failed or were answered otherwise."""
    return sum(count for each in figures.values() for outcome, count in each["outcomes"].items() if outcome != SAME)


def calls(figures: dict[str, Any]) -> int:
    """Calls of good callers."""
    return sum(int(each["calls"]) for each in figures.values())


def fuzz_failures(results: dict[str, Any]) -> list[str]:
    """What did not hold; empty if all did."""
    attack = results["attack"]
    found = [f"crash: {each}" for each in attack["crashes"]]
    found += [f"log: {each}" for each in attack["bad_lines"][:5]]
    found += [f"input {each['number']} ({each['kind']}): {each['fault']}" for each in attack["sent"]["misbehaved"][:20]]
    found += [f"coverage-guided: {each}" for each in results["guided"]["failures"]]
    if not attack["ready"]:
        found.append("the server was not ready at the end")
    if changed := disturbed(attack["neighbours"]):
        found.append(f"{changed} calls of good callers changed or failed")
    if (late_s := delay_s(attack["neighbours"])) > MAX_DELAY_S:
        found.append(f"good callers came {late_s:.2f} s later at p99")
    for cost in results["costs"]:
        if cost["request_bytes"] <= MAX_REQUEST_BYTES and cost["cpu_s"] > MAX_CPU_S:
            found.append(f"{cost['name']}: {cost['cpu_s']:.2f} s of processor time")
    faults = results.get("faults")
    if faults and (changed := disturbed(faults["neighbours"])):
        found.append(f"{changed} calls of good callers changed or failed during faults")
    return found


def leak_failures(results: dict[str, Any]) -> list[str]:
    """What did not hold; empty if all did."""
    found = [
        f"{each['name']} grew by {each['share']:.0%}, from {each['first']:,.0f} to {each['last']:,.0f}"
        for each in results["growth"]
        if each["leak"]
    ]
    found += [f"left behind: {name}: {value}" for name, value in results["left"].items() if value]
    outcomes = [each["outcomes"].get(FAILED, 0) for each in results["neighbours"].values()]
    if changed := disturbed(results["neighbours"]):
        found.append(f"{changed} calls of good callers changed or failed ({sum(outcomes)} failed)")
    return found


def write_page(out: Path, docs: Path | None) -> Path:
    """Writes reliability.md and its plot into `out`, from the results of both runs there, and copies them to `docs`."""
    fuzz, leaks = (pages.read_json(out / name) if (out / name).is_file() else None for name in (FUZZ_FILE, LEAKS_FILE))
    page = out / "reliability.md"
    views = {
        "fuzz": fuzz,
        "fuzz_failures": fuzz_failures(fuzz) if fuzz else [],
        "leaks": leaks,
        "leak_failures": leak_failures(leaks) if leaks else [],
        "delay_s": delay_s(fuzz["attack"]["neighbours"]) if fuzz else None,
        "disturbed": disturbed,
        "calls": calls,
        "streams": STREAMS,
        "clip_callers": CLIP_CALLERS,
        "hang_s": HANG_S,
        "max_cpu_s": MAX_CPU_S,
        "max_request_bytes": MAX_REQUEST_BYTES,
        "allowed_growth": ALLOWED_GROWTH,
    }
    filters = {"amount": _amount}
    write_whole_text(page, pages.render(TEMPLATE, filters, **views))
    written = [page]
    if leaks:
        _plot(leaks["samples"], out / PLOT)
        written.append(out / f"{PLOT}.svg")
    if docs is not None:
        pages.publish(written, docs)
    return page


def _amount(value: float, name: str) -> str:
    """A value with its unit: memory in MB, all else as numbers."""
    return f"{value / MB:,.1f} MB" if name.endswith("memory") else f"{value:,.0f}"


def _plot(samples: list[dict[str, float]], path: Path) -> None:
    """Memory of the processes, and shared memory, over time."""
    minutes = [each["at_s"] / 60 for each in samples]
    fixed = (SERVER, SUPERVISOR, "client")
    stages = sorted({key.removesuffix(" memory") for each in samples for key in each if key.endswith(" memory")})
    stages = [name for name in stages if name not in (*fixed, "shared")]
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = panels(2)
        for name in fixed:
            left.plot(minutes, [_megabytes(each, f"{name} memory") for each in samples], label=name, linewidth=1)
        total = [sum(_megabytes(each, f"{name} memory") for name in stages) for each in samples]
        left.plot(minutes, total, label=f"{len(stages)} stages", linewidth=1)
        left.set(ylabel="MB of a process's own memory", xlabel="minutes", ylim=(0, None))
        left.legend(frameon=False)
        right.plot(minutes, [_megabytes(each, SHARED_MEMORY) for each in samples], linewidth=1)
        right.set(ylabel="MB of shared memory", xlabel="minutes", ylim=(0, None))
        save(figure, path)


def _megabytes(sample: dict[str, float], name: str) -> float:
    return sample.get(name, 0.0) / MB
