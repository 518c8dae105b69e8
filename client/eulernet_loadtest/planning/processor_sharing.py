# SPDX-License-Identifier: Apache-2.0
"""Requests in progress at a replica with Poisson arrivals, in closed form.

Generalized processor sharing (J. W. Cohen: The multiple phase service network with generalized processor sharing, Acta
Informatica 12, 1979): with n requests in progress each advances at the speed 1 / T(n). The probability of n is then
proportional to the product of r T(k) / k for k = 1 … n, r being the rate, whatever the distribution of the work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eulernet_loadtest.planning.measured_service import MeasuredService


def in_progress(measured: MeasuredService, rate_hz: float, most: int) -> NDArray[np.float64]:
    """Probability of 0, 1, … `most` requests in progress, float64 (most + 1,).

    Args:
        rate_hz: of the arrivals.
        most: no more than this are in progress: the number of streams, which send one frame at a time.
    """
    times_s = np.array(measured.times_s(most)[1:])
    steps = np.log(max(rate_hz, 1e-12) * times_s / np.arange(1, most + 1))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())  # shifted: the products overflow
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def mean_time_s(measured: MeasuredService, rate_hz: float, most: int = 4096) -> float:
    """Mean time of a request by Little's law; infinite where the replica can't keep up."""
    if rate_hz >= measured.most_per_s:
        return float("inf")
    shares = in_progress(measured, rate_hz, most)
    return float(shares @ np.arange(most + 1)) / rate_hz
