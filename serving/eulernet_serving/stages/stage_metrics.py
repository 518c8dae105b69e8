# SPDX-License-Identifier: Apache-2.0
"""Metrics of a Python stage on Triton's metrics port.

A call of Triton's metric API is a message to another process. So a stage adds to plain numbers, and a thread brings
them to Triton once in a while, also while nobody calls. The instances of a model share a metric with the same labels:
it is changed by differences, so that each instance's part stays in it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import triton_python_backend_utils as pb_utils

from eulernet_serving.metric_catalog import Kind, MetricSpec

MOST_SCORES = 2_000  # of one interval, the last ones: each is a message, which costs this process 15 us
_LOG = logging.getLogger(__name__)


@dataclass
class Count:
    """A counter. One thread adds to `total`, another shows it."""

    metric: Any
    total: float = 0
    shown: float = 0

    def flush(self) -> None:
        """Shows what was added since the last time."""
        if (total := self.total) != self.shown:
            self.metric.increment(total - self.shown)
            self.shown = total


@dataclass
class Level:
    """A gauge, read when it is shown. `shared`: the values of all instances are summed."""

    metric: Any
    read: Callable[[], float]
    shared: bool
    shown: float = 0

    def flush(self) -> None:
        """Shows the current value."""
        if (value := self.read()) != self.shown:
            self.metric.increment(value - self.shown) if self.shared else self.metric.set(value)
            self.shown = value


@dataclass
class Scores:
    """A histogram. One thread appends to `values`, another observes them."""

    metric: Any
    values: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_SCORES))

    def flush(self) -> None:
        """Observes what was appended since the last time."""
        for _ in range(len(self.values)):
            self.metric.observe(self.values.popleft())


Shown = TypeVar("Shown", Count, Level, Scores)


class StageMetrics:
    """The metrics of one instance of a stage, shown every `interval_s` from `start` to `stop`."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._families: dict[str, Any] = {}  # Triton wants them to outlive their metrics
        self._shown: list[Count | Level | Scores] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._failed = False

    def count(self, spec: MetricSpec, **labels: str) -> Count:
        """A counter; it is shown as 0 from now on, so that its first increase is seen."""
        return self._added(Count(self._metric(spec, labels)))

    def scores(self, spec: MetricSpec, buckets: tuple[float, ...], **labels: str) -> Scores:
        """A histogram with these upper bounds."""
        return self._added(Scores(self._metric(spec, labels, buckets=list(buckets))))

    def level(self, spec: MetricSpec, read: Callable[[], float], *, shared: bool = True, **labels: str) -> Level:
        """A gauge; `read` is called by another thread."""
        return self._added(Level(self._metric(spec, labels), read, shared))

    def _added(self, each: Shown) -> Shown:
        self._shown.append(each)
        return each

    def _metric(self, spec: MetricSpec, labels: dict[str, str], **options: Any) -> Any:
        if tuple(labels) != spec.labels:
            raise ValueError(f"{spec.name}: labels {', '.join(labels)}, not {', '.join(spec.labels)}")
        if spec.name not in self._families:
            kinds = {Kind.COUNTER: "COUNTER", Kind.GAUGE: "GAUGE", Kind.HISTOGRAM: "HISTOGRAM"}
            kind = getattr(pb_utils.MetricFamily, kinds[spec.kind])
            self._families[spec.name] = pb_utils.MetricFamily(name=spec.name, description=spec.meaning, kind=kind)
        return self._families[spec.name].Metric(labels=labels, **options)

    def start(self) -> None:
        """Starts the thread, unless there is nothing to show."""
        if self._shown:
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread: it would keep this process from exiting. What was counted last is shown."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._interval_s)

    def flush(self) -> None:
        """Shows everything now; for one thread at a time."""
        for each in self._shown:
            each.flush()

    def _run(self) -> None:
        server = os.getppid()
        ended = False
        while not ended and os.getppid() == server:
            ended = self._stopping.wait(self._interval_s)
            try:
                self.flush()
            except Exception as error:  # a metric must never harm the service
                if not ended and not self._failed:
                    _LOG.warning("metrics can't be shown: %s", error)
                self._failed = True
