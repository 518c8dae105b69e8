# SPDX-License-Identifier: Apache-2.0
"""Probes the server every few seconds on a thread of its own, so that the supervisor never waits for an answer."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from eulernet_serving.inference_probe import probe_ways
from eulernet_serving.triton_metrics import read_metrics
from eulernet_serving.way_health import ProbeRound

INTERVAL_S, IMPATIENT_S = 5.0, 0.25  # between two rounds: while the server serves, and while it starts
METRICS_TIMEOUT_S = 5.0


class Prober:
    """Runs from `__enter__` to `__exit__`; `latest` is the last finished round.

    Args:
        host, grpc_port, metrics_port: of the server, the same ones after a restart.
    """

    def __init__(self, host: str, grpc_port: int, metrics_port: int) -> None:
        self._url, self._metrics = f"{host}:{grpc_port}", (host, metrics_port)
        self.latest: ProbeRound | None = None
        self._interval_s: float | None = None
        self._wake, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def every(self, interval_s: float | None) -> None:
        """Sets the time between two rounds; None pauses."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._wake.set()

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            self._wake.clear()
            if self._interval_s is not None:
                self.latest = self._round()
            self._wake.wait(self._interval_s)

    def _round(self) -> ProbeRound:
        begun_s = time.monotonic()
        answers = probe_ways(self._url)
        readings = read_metrics(*self._metrics, METRICS_TIMEOUT_S)
        return ProbeRound(begun_s, time.monotonic(), answers, readings)
