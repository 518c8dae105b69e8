# SPDX-License-Identifier: Apache-2.0
"""The supervisor's own metrics, on its health port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

from eulernet_core.tensors import STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN
from eulernet_serving.metric_catalog import (
    MODEL_INFO,
    PHASES,
    READY,
    RESTART,
    RESTARTS,
    STAGE_DEATHS,
    STREAMS_LOST_BY_RESTART,
    SUPERVISOR_STATE,
    MetricSpec,
)
from eulernet_serving.repository_manifest import ManifestError
from eulernet_serving.served_repository import read_served
from eulernet_serving.triton_config import read_config

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REASONS = ("died", "stopped", "stalled", "not ready in time")


class SupervisorMetrics:
    """What the supervisor has seen. Every series is shown from the start, so that its first increase is seen.

    Args:
        repository: the served model repository.
    """

    def __init__(self, repository: Path) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._ready, self._state = self._gauge(READY), self._gauge(SUPERVISOR_STATE)
        self._restarts, self._deaths = self._counter(RESTARTS), self._counter(STAGE_DEATHS)
        self._lost = self._counter(STREAMS_LOST_BY_RESTART)
        self._gauge(MODEL_INFO).labels(**model_identity(repository)).set(1)
        self.phase("starting", ready=False)
        self._lost.labels(RESTART)
        for reason in REASONS:
            self._restarts.labels(reason)

    def _gauge(self, spec: MetricSpec) -> Gauge:
        return Gauge(spec.name, spec.meaning, spec.labels, registry=self._registry)

    def _counter(self, spec: MetricSpec) -> Counter:
        return Counter(spec.name, spec.meaning, spec.labels, registry=self._registry)

    def watches(self, processes: Iterable[str]) -> None:
        """Shows the deaths of these processes, of which there were none yet."""
        for each in processes:
            self._deaths.labels(each)

    def phase(self, phase: str, *, ready: bool) -> None:
        """What the server is doing now."""
        self._ready.set(ready)
        for each in PHASES:
            self._state.labels(each).set(each == phase)

    def died(self, process: str) -> None:
        """A stage or tritonserver has died."""
        self._deaths.labels(process).inc()

    def restarted(self, reason: str, open_streams: int) -> None:
        """The server is ended, with what was open, to be started again."""
        self._restarts.labels(reason).inc()
        self._lost.labels(RESTART).inc(open_streams)

    def text(self) -> str:
        """The page for Prometheus."""
        return generate_latest(self._registry).decode()


def model_identity(repository: Path) -> dict[str, str]:
    """The labels of MODEL_INFO, from the configuration of the ensemble for streams."""
    found: dict[str, str] = {}
    with contextlib.suppress(ManifestError, OSError, ValueError):  # the start of the server reports them
        parameters = read_config(read_served(repository).config(STREAM_MODEL)).parameters
        found = {name: value.string_value for name, value in parameters.items()}
    sha256, _, precision = found.get(IDENTITY_PARAMETER, "").partition(" ")
    weights = found.get(WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN)
    values = (weights, sha256 or WEIGHTS_UNKNOWN, precision or WEIGHTS_UNKNOWN)
    return dict(zip(MODEL_INFO.labels, values, strict=True))
