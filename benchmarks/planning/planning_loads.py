# SPDX-License-Identifier: Apache-2.0
"""The load tests: closed loops that the model is made from, and paced loads that it has to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from benchmarks.pages import say
from benchmarks.rig import Rig
from eulernet_loadtest.loadtest_report import write
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.planning.measured_service import RARE_LOAD, read_runs, read_services
from eulernet_loadtest.planning.model_check import WITHIN, Comparison, compare
from eulernet_loadtest.results import Run, Session
from eulernet_loadtest.traffic import Traffic

CONCURRENCY = (1, 2, 4, 8, 16, 32)
LOADS = (0.3, 0.5, 0.7)  # shares of the largest throughput
FPS = 10.0
STREAM_FRAMES = 48
PACED_REQUESTS = 1500  # of each paced load: its p99 then rests on 15 of them


@dataclass(frozen=True)
class Figures:
    """One load of all rounds: means of the latencies in ms, and the extremes of the measured p99."""

    mode: str
    load: str
    used: float
    p50_ms: float
    p99_ms: float
    measured_p50_ms: float
    measured_p99_ms: float
    lowest_p99_ms: float
    highest_p99_ms: float
    p99_error: float
    agrees: bool


def closed(mode: Mode, concurrency: int, seconds: float) -> Plan:
    """A closed loop."""
    frames = STREAM_FRAMES if mode is Mode.STREAMS else None
    return Plan(mode=mode, concurrency=concurrency, stream_frames=frames, duration_s=seconds, warm_up_s=seconds / 4)


def paced(mode: Mode, requests_per_s: float, seconds: float, seed: int, *, lone: bool = False) -> Plan:
    """Streams at 10 frames/s, or clip calls at random times. It lasts until its p99 rests on enough requests.

    Args:
        lone: regular, with hardly two requests at once.
        seed: of the phases, or of the arrivals.
    """
    duration_s = max(seconds, min(PACED_REQUESTS / requests_per_s, 8 * seconds))
    base = Plan(mode=mode, concurrency=1, duration_s=duration_s, warm_up_s=seconds / 4, seed=seed)
    if mode is Mode.STREAMS:
        return replace(base, concurrency=round(requests_per_s / FPS), fps=FPS, stream_frames=STREAM_FRAMES)
    arrivals = Arrivals.CONSTANT if lone else Arrivals.POISSON
    return replace(base, concurrency=None, rate_hz=requests_per_s, arrivals=arrivals)


def measure(rig: Rig, pictures: Traffic, seconds: float, rounds: int, out: Path) -> tuple[list[Path], float]:
    """Runs all loads on the server, round after round.

    Returns:
        The report of each round, for `eulernet plan`, and the processor time of other programs, in cores.
    """
    runner = rig.runner(pictures)
    version, weights = runner.server()
    largest: dict[Mode, float] = {}
    reports, others = [], []

    def run(plans: list[Plan]) -> list[Run]:
        found: list[Run] = []
        for plan in plans:

            def one(plan: Plan = plan) -> Run:
                found.extend(runner.run([plan]))
                return found[-1]

            others.append(rig.watch(one).other_cores)
        return found

    for number in range(rounds):
        runs: list[Run] = []
        for mode in Mode:
            plans = [closed(mode, n, seconds) for n in CONCURRENCY]
            loops = run(plans[:: -1 if number % 2 else 1])  # by turns: a drift of the machine cancels out
            frames = mode.frames_per_request
            # The loads stay the same in all rounds.
            best = largest.setdefault(mode, max(each.answered_fps / frames for each in loops))
            alone_hz = next(each.answered_fps / frames for each in loops if each.concurrency == 1)
            rare_hz = FPS if mode is Mode.STREAMS else RARE_LOAD / 2 * alone_hz
            shares = [paced(mode, max(_whole(mode, share * best), rare_hz), seconds, number + 1) for share in LOADS]
            runs += [*loops, *run([paced(mode, rare_hz, seconds, 1, lone=True), *shares])]
            say(f"round {number + 1}: {mode.value}: {best:.1f} requests/s at most")
        session = Session("loadtest", (rig.server.url,), version, weights, 1, pictures.bytes_per_frame, tuple(runs))
        folder = out / f"round-{number + 1}"
        write(session, folder)
        reports.append(folder / "report.json")
    return reports, mean(others)


def _whole(mode: Mode, requests_per_s: float) -> float:
    """Whole streams, two at least: one alone is the lone load."""
    return max(2, round(requests_per_s / FPS)) * FPS if mode is Mode.STREAMS else requests_per_s


def figures(reports: list[Path]) -> list[Figures]:
    """The model beside the measurement, for each load. The model is made from the closed loops of all rounds."""
    services = read_services(reports)
    found: dict[tuple[str, str], list[Comparison]] = {}
    for run in read_runs(reports):
        for each in compare(services, [run]):
            found.setdefault((run["mode"], each.load), []).append(each)
    return [_combined(mode, load, each) for (mode, load), each in found.items()]


def _combined(mode: str, load: str, rounds: list[Comparison]) -> Figures:
    tails_s = [each.measured_p99_s for each in rounds]
    p99_s, measured_p99_s = mean(each.p99_s for each in rounds), mean(tails_s)
    error = p99_s / measured_p99_s - 1
    return Figures(
        mode=mode,
        load=load,
        used=rounds[0].used,
        p50_ms=1000 * mean(each.p50_s for each in rounds),
        p99_ms=1000 * p99_s,
        measured_p50_ms=1000 * mean(each.measured_p50_s for each in rounds),
        measured_p99_ms=1000 * measured_p99_s,
        lowest_p99_ms=1000 * min(tails_s),
        highest_p99_ms=1000 * max(tails_s),
        p99_error=error,
        agrees=abs(error) <= WITHIN,
    )
