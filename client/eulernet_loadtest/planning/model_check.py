# SPDX-License-Identifier: Apache-2.0
"""Compares the model with measured runs that it was not made from: paced streams, and clip calls at random times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_loadtest.pacer import poisson
from eulernet_loadtest.plan import Arrivals, Mode
from eulernet_loadtest.planning.frame_simulation import arriving_latencies, stream_latencies
from eulernet_loadtest.planning.measured_service import MeasuredService, is_closed, is_rare, latency

WORK_DRAWS = 8  # of the work of the same arrivals
WITHIN = 0.2  # largest relative difference of the p99 with which the model counts as confirmed


@dataclass(frozen=True)
class Comparison:
    """One load; latencies of a request from its due time, in s."""

    load: str
    used: float
    p50_s: float
    p99_s: float
    measured_p50_s: float
    measured_p99_s: float

    @property
    def p50_error(self) -> float:
        """(model - measured) / measured."""
        return self.p50_s / self.measured_p50_s - 1

    @property
    def p99_error(self) -> float:
        """(model - measured) / measured."""
        return self.p99_s / self.measured_p99_s - 1

    @property
    def agrees(self) -> bool:
        """Whether the p99 differs by at most `WITHIN`."""
        return abs(self.p99_error) <= WITHIN


def compare(services: Mapping[Mode, MeasuredService], runs: Iterable[Mapping[str, Any]]) -> list[Comparison]:
    """The runs that were not used for `services` and that the model covers."""
    found = []
    for run in runs:
        mode = Mode(run["mode"])
        if mode not in services or is_closed(run) or is_rare(run, services[mode].services[0].time_s):
            continue
        predicted = _predicted(services[mode], run["plan"], run["concurrency"])
        if predicted is None:
            continue
        rate_hz, latencies_s = predicted
        middle, tail = np.percentile(latencies_s, (50, 99), method="lower")
        measured = latency(run, "corrected")
        found.append(
            Comparison(
                load=run["load"],
                used=rate_hz / services[mode].most_per_s,
                p50_s=float(middle),
                p99_s=float(tail),
                measured_p50_s=measured["p50_ms"] / 1000,
                measured_p99_s=measured["p99_ms"] / 1000,
            )
        )
    return found


def _predicted(
    measured: MeasuredService, plan: Mapping[str, Any], streams: int | None
) -> tuple[float, NDArray[np.float64]] | None:
    """Requests/s and the latencies of a run's plan; None for arrivals that the model does not cover.

    The arrivals are the run's own, by its seed: with others the p99 of a short run differs by chance.
    """
    if plan["rate_hz"] is None and streams is not None:
        random = Random(plan["seed"])
        phases_s = [random.random() / plan["fps"] for _ in range(streams)]  # as attack.py draws them
        return streams * plan["fps"], stream_latencies(measured, streams, plan["fps"], phases_s=phases_s)
    if measured.mode is not Mode.CLIPS or plan["arrivals"] != Arrivals.POISSON.value:
        return None
    end_s = plan["warm_up_s"] + plan["duration_s"]
    arrivals_s = list(takewhile(lambda at_s: at_s < end_s, poisson(plan["rate_hz"], plan["seed"])))
    uncounted = sum(at_s < plan["warm_up_s"] for at_s in arrivals_s)
    draws = [arriving_latencies(measured, arrivals_s, uncounted, seed) for seed in range(WORK_DRAWS)]
    return plan["rate_hz"], np.concatenate(draws)
