# SPDX-License-Identifier: Apache-2.0
"""Latencies and STATUS of the frames that went through this console in the last minute."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from eulernet_core.status import Status

WINDOW_S = 60.0
MOST_SAMPLES = 10_000


class RecentSamples:
    """Keeps the samples of WINDOW_S, at most MOST_SAMPLES. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=MOST_SAMPLES)  # time, latency_s
        self._statuses: Counter[str] = Counter()

    def add(self, latency_s: float, status: Status) -> None:
        """One answered frame; its latency includes retries and replays."""
        self._samples.append((self._clock(), latency_s))
        self._statuses[status.label] += 1

    def summary(self) -> dict[str, Any]:
        """`frames`, `p50_ms` and `p99_ms` of the window, None without frames; `statuses`: counts since the start."""
        oldest = self._clock() - WINDOW_S
        while self._samples and self._samples[0][0] < oldest:
            self._samples.popleft()
        latencies_ms = [1000 * latency_s for _, latency_s in self._samples]
        p50, p99 = np.percentile(latencies_ms, (50, 99)).tolist() if latencies_ms else (None, None)
        return {"frames": len(latencies_ms), "p50_ms": p50, "p99_ms": p99, "statuses": dict(self._statuses)}
