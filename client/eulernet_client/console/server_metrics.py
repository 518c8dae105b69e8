# SPDX-License-Identifier: Apache-2.0
"""Reads the servers' Prometheus metrics for the page: counters by stage, open streams, frames by STATUS."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from eulernet_core.tensors import CLIP_MODEL, FACE_DETECTOR_MODEL, STREAM_MODEL

TIMEOUT_S = 2.0
FRESH_S = 1.0  # several pages share one look at the servers
ENSEMBLES = (STREAM_MODEL, CLIP_MODEL)
FRAMES, OPEN_STREAMS, OPEN_SEQUENCES = "eulernet_frames", "eulernet_open_streams", "eulernet_open_sequences"
FIRST_STREAM_STAGES = ("face_locate", "face_crop")  # on a GPU, on a CPU: one sequence for each open stream
# A metric of Triton by model, and the name that the page knows it by.
_BY_MODEL = {
    "nv_inference_request_success": "answered",
    "nv_inference_request_failure": "failed",
    "nv_inference_exec_count": "executions",
    "nv_inference_queue_duration_us": "queue_us",
    "nv_inference_compute_infer_duration_us": "compute_us",
    "nv_inference_pending_request_count": "pending",
}


def metrics_addresses(given: Sequence[str], urls: Sequence[str], port: int) -> list[tuple[str, int]]:
    """Host and port of each server's metrics: those given, or the hosts of `urls` with `port`.

    Raises:
        ValueError: one is not host:port.
    """
    addresses = []
    for text in given or [f"{url.rpartition(':')[0]}:{port}" for url in urls]:
        try:
            parts = urlsplit(f"//{text}")
            host, number = parts.hostname, parts.port
        except ValueError:
            host, number = None, None
        if not host or number is None or parts.path:
            raise ValueError(f"{text!r}: give HOST:PORT of the metrics, such as localhost:{port}")
        addresses.append((host, number))
    return sorted(set(addresses))


@dataclass
class Reading:
    """Sums over the servers that answered. Counters run since each server's start.

    Attributes:
        stages: by model, the counters named in `_BY_MODEL`.
        statuses: frames by STATUS, None where no server counts them.
        open_streams: None where no server reports them.
        missing: addresses that did not answer.
    """

    stages: dict[str, Counter[str]] = field(default_factory=dict)
    statuses: Counter[str] | None = None
    open_streams: int | None = None
    missing: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Adds one server's metrics. Raises: ValueError for text that is not Prometheus' format."""
        sequences, streams = None, None
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = sample.labels.get("model", "")
                if family.name in _BY_MODEL:
                    self.stages.setdefault(model, Counter())[_BY_MODEL[family.name]] += int(sample.value)
                elif family.name == FRAMES and sample.name.endswith("_total"):
                    self.statuses = self.statuses if self.statuses is not None else Counter()
                    self.statuses[sample.labels.get("status", "")] += int(sample.value)
                elif family.name == OPEN_STREAMS:
                    streams = (streams or 0) + int(sample.value)
                elif family.name == OPEN_SEQUENCES and model in FIRST_STREAM_STAGES:
                    sequences = (sequences or 0) + int(sample.value)
        found = streams if streams is not None else sequences
        if found is not None:
            self.open_streams = (self.open_streams or 0) + found

    def to_dict(self) -> dict[str, Any]:
        """For the page. `stages` lists what a frame passes, in the order of its way, without the ensembles.

        A server with one stage has models of the ensembles' names alone; there they are the stages.
        """
        order = ("face_locate", "clip_locate", FACE_DETECTOR_MODEL, "face_crop", "clip_crop")
        names = [name for name in (*order, *sorted(set(self.stages) - {*order, *ENSEMBLES})) if name in self.stages]
        names = names or [name for name in ENSEMBLES if name in self.stages]
        return {
            "stages": [{"name": name, **self.stages[name]} for name in names],
            "streams": dict(self.stages.get(STREAM_MODEL, {})),
            "clips": dict(self.stages.get(CLIP_MODEL, {})),
            "statuses": None if self.statuses is None else dict(self.statuses),
            "open_streams": self.open_streams,
            "missing": self.missing,
        }


class MetricsReader:
    """Reads all addresses, at most once in FRESH_S."""

    def __init__(self, addresses: Iterable[tuple[str, int]]) -> None:
        self.addresses = tuple(addresses)
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._reading = Reading()

    async def read(self) -> tuple[float, Reading]:
        """The time of the reading, s on the monotonic clock, and the reading."""
        async with self._lock:
            if time.monotonic() - self._read_at >= FRESH_S:
                texts = await asyncio.gather(*(asyncio.to_thread(fetched, *each) for each in self.addresses))
                self._reading = merged(self.addresses, texts)
                self._read_at = time.monotonic()
        return self._read_at, self._reading


def merged(addresses: Sequence[tuple[str, int]], texts: Sequence[str | None]) -> Reading:
    """One reading of all servers; those without a text, or with one that can't be read, are `missing`."""
    reading = Reading()
    for (host, port), text in zip(addresses, texts, strict=True):
        try:
            reading.add(text or "") if text else reading.missing.append(f"{host}:{port}")
        except ValueError:
            reading.missing.append(f"{host}:{port}")
    return reading


def fetched(host: str, port: int) -> str | None:
    """The metrics' text, or None if the port does not answer in time."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)  # asks no proxy
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.read().decode(errors="replace") if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
