# SPDX-License-Identifier: Apache-2.0
"""Keeps what a shadow saw: the latest pairs of answers, counters for Prometheus, and a line of JSON for each pair."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Histogram

from eulernet_client.rollout.score_pairs import Pair

KEPT_PAIRS = 20_000  # for the summary at the end
COMPARED, DROPPED, FAILED, INCOMPARABLE = "compared", "dropped", "candidate_failed", "incomparable"
RESULTS = (COMPARED, DROPPED, FAILED, INCOMPARABLE)
STABLE, CANDIDATE = "stable", "candidate"
_DIFFERENCES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ShadowRecord:
    """Takes pairs from one thread.

    Args:
        threshold: lowest liveness with the verdict live.
        log: file for a line of JSON for each pair; no pictures and no caller's name. None: no file.

    Attributes:
        registry: of the metrics, for a page.
        pairs: the latest KEPT_PAIRS.
        counts: calls by result.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, threshold: float, log: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self.pairs: deque[Pair] = deque(maxlen=KEPT_PAIRS)
        self.counts = dict.fromkeys(RESULTS, 0)
        self._threshold = threshold
        self._log: TextIO | None = None if log is None else log.open("a", encoding="utf-8", buffering=1)
        registry = self.registry
        self._calls = Counter(
            "eulernet_shadow_calls_total", "Clips chosen for the candidate.", ["result"], registry=registry
        )
        self._verdicts = Counter(
            "eulernet_shadow_verdicts_total", "Compared clips by both verdicts.", [STABLE, CANDIDATE], registry=registry
        )
        self._difference = Histogram(
            "eulernet_shadow_difference", "Absolute difference of liveness.", buckets=_DIFFERENCES, registry=registry
        )
        self._seconds = Histogram(
            "eulernet_shadow_seconds",
            "Seconds of a compared clip's call.",
            ["version"],
            buckets=_SECONDS,
            registry=registry,
        )
        for result in RESULTS:
            self._calls.labels(result)

    def count(self, result: str) -> None:
        """Counts a call that was not compared."""
        self.counts[result] += 1
        self._calls.labels(result).inc()

    def add(self, pair: Pair) -> None:
        """Takes a compared call."""
        self.count(COMPARED)
        self.pairs.append(pair)
        self._verdicts.labels(pair.stable.verdict(self._threshold), pair.candidate.verdict(self._threshold)).inc()
        if pair.difference is not None:
            self._difference.observe(abs(pair.difference))
        for version, answer in ((STABLE, pair.stable), (CANDIDATE, pair.candidate)):
            if answer.seconds is not None:
                self._seconds.labels(version).observe(answer.seconds)
        if self._log is not None:
            row = {
                "time": round(time.time(), 3),
                "call": pair.name,
                STABLE: pair.stable.liveness,
                CANDIDATE: pair.candidate.liveness,
                "stable_s": pair.stable.seconds,
                "candidate_s": pair.candidate.seconds,
            }
            self._log.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Closes the file."""
        if self._log is not None:
            self._log.close()
