# SPDX-License-Identifier: Apache-2.0
"""What one replica was measured to do: the time of a request by the number in progress, from load tests.

The replica is a flow-equivalent server: a box of which only the throughput at each population is known (K. M. Chandy,
U. Herzog, L. Woo: Parametric analysis of queuing networks, IBM J. Res. Dev. 19, 1975). A closed loop of the load tester
measures just that, batches and shared processors included.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eulernet_core.errors import EulerNetError
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.results import OURS

MOST_UNANSWERED = 0.01  # share of a run's requests; above it the throughput says little about the server
RARE_LOAD = 0.5  # share of time; a paced run below it has hardly two requests at once
HOW_TO_MEASURE = {
    Mode.STREAMS: "eulernet loadtest VIDEO --concurrency 1,2,4,8,16,32 --out out/closed  and  "
    "eulernet loadtest VIDEO --concurrency 1 --fps 10 --out out/paced",
    Mode.CLIPS: "eulernet loadtest VIDEO --mode clips --concurrency 1,2,4,8,16,32 --out out/closed",
}
_LEVELS = 512  # values of a tabulated distribution


class MeasuredLoadError(EulerNetError):
    """A load test's report can't be read, or lacks the runs that a plan needs."""


@dataclass(frozen=True)
class Service:
    """Time of a request under one condition.

    Attributes:
        time_s: mean.
        spread: equally likely values of a request's time, divided by their mean.
    """

    time_s: float
    spread: tuple[float, ...]


@dataclass(frozen=True)
class MeasuredService:
    """One replica.

    Attributes:
        mode: clip calls, or frames of streams.
        populations: numbers of requests in progress that were measured, ascending from 1.
        services: a Service for each of them.
        lone: a request that finds the replica idle. It is slower than the closed loop of one request, since caches and
            processors have gone cold; the same where no paced run was given.
    """

    mode: Mode
    populations: tuple[int, ...]
    services: tuple[Service, ...]
    lone: Service

    @property
    def most_per_s(self) -> float:
        """Largest measured throughput, in requests/s."""
        return max(n / each.time_s for n, each in zip(self.populations, self.services, strict=True))

    def times_s(self, most: int) -> list[float]:
        """Time of a request while n are in progress, for n from 0 (unused) to `most`.

        Linear between the measured populations. Beyond the last one the throughput stays what it was there.
        """
        numbers, last = np.arange(most + 1), self.populations[-1]
        times_s = np.interp(numbers, self.populations, [each.time_s for each in self.services])
        times: list[float] = (times_s * np.maximum(1, numbers / last)).tolist()
        return times

    def nearest(self, in_progress: int) -> Service:
        """The measured service at the nearest population."""
        place = bisect_left(self.populations, in_progress)
        if place == 0 or place == len(self.populations):
            return self.services[min(place, len(self.populations) - 1)]
        below, above = self.populations[place - 1], self.populations[place]
        return self.services[place - (in_progress * in_progress < below * above)]


def read_services(paths: Iterable[Path]) -> dict[Mode, MeasuredService]:
    """What the reports of `eulernet loadtest` say about a replica, by mode. Raises: MeasuredLoadError."""
    runs = read_runs(paths)
    return {mode: measured for mode in Mode if (measured := _measured(mode, runs)) is not None}


def read_runs(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The runs of reports, without those of perf_analyzer. Raises: MeasuredLoadError."""
    return [run for path in paths for run in _runs(path)]


def _runs(path: Path) -> list[dict[str, Any]]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        runs = [run for run in report["runs"] if run["tool"] == OURS]
        for run in runs:
            _check(run, path)
    except OSError as error:
        raise MeasuredLoadError(
            f"{path}: can't be read ({error.strerror}); measure first: {HOW_TO_MEASURE[Mode.STREAMS]}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise MeasuredLoadError(f"{path}: not a report.json of `eulernet loadtest` ({error!r})") from error
    return runs


def _check(run: Mapping[str, Any], path: Path) -> None:
    if run["plan"] and max(run["plan"].get(name, 1) for name in ("chunk_frames", "frames_in_flight")) > 1:
        raise MeasuredLoadError(
            f"{path}: run '{run['load']}' has several frames in a request; a plan is for cameras: one frame a request"
        )
    total, answered = sum(run["counts"].values()), sum(run["counts"][name] for name in ("ok", "late", "unscored"))
    if run["frame"]["uncorrected"] is None:
        raise MeasuredLoadError(f"{path}: run '{run['load']}' has no answer in its window; measure longer")
    if total - answered > MOST_UNANSWERED * total:
        raise MeasuredLoadError(
            f"{path}: run '{run['load']}' has {total - answered} of {total} requests without an answer; measure again"
        )


def is_closed(run: Mapping[str, Any]) -> bool:
    """Whether a run is a closed loop: each request follows an answer."""
    return run["plan"]["fps"] is None and run["plan"]["rate_hz"] is None


def latency(run: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The distribution of a request's latency, in ms. `kind`: corrected, from the intended send, or uncorrected."""
    part = "clip" if run["mode"] == Mode.CLIPS.value else "frame"
    found: Mapping[str, Any] = run[part][kind]
    return found


def _measured(mode: Mode, runs: Sequence[Mapping[str, Any]]) -> MeasuredService | None:
    """None without a closed run of this mode. Raises: MeasuredLoadError where one request alone is missing."""
    of_mode = [run for run in runs if run["mode"] == mode.value]
    closed: dict[int, list[Mapping[str, Any]]] = {}
    for run in filter(is_closed, of_mode):
        closed.setdefault(run["concurrency"], []).append(run)
    if not closed:
        return None
    if 1 not in closed or len(closed) < 2:
        raise MeasuredLoadError(
            f"{mode.value}: closed loops of {', '.join(map(str, sorted(closed)))} in progress, but a plan needs 1 and "
            f"larger ones; measure: {HOW_TO_MEASURE[mode]}"
        )
    populations = tuple(sorted(closed))
    services = tuple(_service([_cycle_s(n, run) for run in closed[n]], closed[n]) for n in populations)
    paced = [run for run in of_mode if is_rare(run, services[0].time_s)]
    lone = _service([latency(run, "corrected")["mean_ms"] / 1000 for run in paced], paced) if paced else services[0]
    return MeasuredService(mode, populations, services, lone)


def is_rare(run: Mapping[str, Any], alone_s: float) -> bool:
    """Whether a paced run sends regularly and so rarely that hardly two requests meet. `alone_s`: time of one."""
    plan = run["plan"]
    if run["mode"] == Mode.STREAMS.value:
        return plan["fps"] is not None and run["concurrency"] == 1 and bool(plan["fps"] * alone_s <= RARE_LOAD)
    return plan["arrivals"] == "constant" and bool((plan["rate_hz"] or float("inf")) * alone_s <= RARE_LOAD)


def _cycle_s(in_progress: int, run: Mapping[str, Any]) -> float:
    """Time of a request in a closed loop by Little's law; the load tester's own time between requests is part of it."""
    return float(in_progress * Mode(run["mode"]).frames_per_request / run["answered_fps"])


def _service(times_s: Sequence[float], runs: Sequence[Mapping[str, Any]]) -> Service:
    """The mean of several runs of one load. `times_s`: each run's time of a request."""
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    values = np.mean([_quantiles(latency(run, "uncorrected"), levels) for run in runs], axis=0)
    return Service(float(np.mean(times_s)), tuple((values / values.mean()).tolist()))


def _quantiles(found: Mapping[str, Any], levels: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    shares, values = zip(*found["quantiles"], strict=True)
    return np.interp(levels * 100, shares, values)
