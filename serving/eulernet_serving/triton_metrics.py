# SPDX-License-Identifier: Apache-2.0
"""What the supervisor reads from Triton's metrics port: inferences, waiting requests, open streams, busy stages."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from eulernet_serving.metric_catalog import BUSY, OPEN_STREAMS

INFERENCES, PENDING = "nv_inference_count", "nv_inference_pending_request_count"


@dataclass(frozen=True)
class Readings:
    """One look at the metrics.

    Attributes:
        inferences: since the start, by model.
        pending: requests in the queue, by model.
        open_streams: of the server.
        busy_s: the longest time for which an instance of a stage has been busy with one batch.
    """

    inferences: Mapping[str, int]
    pending: Mapping[str, int]
    open_streams: int
    busy_s: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is open and nothing waits."""
        return not self.open_streams and not any(self.pending.values())


def read_metrics(host: str, port: int, timeout_s: float) -> Readings | None:
    """None where the port does not answer in time."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)  # asks no proxy
    try:
        connection.request("GET", "/metrics")
        return parse_metrics(connection.getresponse().read().decode())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def parse_metrics(text: str) -> Readings:
    """Raises: ValueError for text that is not Prometheus' format."""
    inferences: Counter[str] = Counter()
    pending: Counter[str] = Counter()
    streams, busy_s = 0, 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            model = sample.labels.get("model", "")
            if family.name == INFERENCES:  # the parser appends _total to the samples of a counter
                inferences[model] += int(sample.value)  # a model has one row a version
            elif family.name == PENDING:
                pending[model] += int(sample.value)
            elif family.name == OPEN_STREAMS.name:
                streams += int(sample.value)
            elif family.name == BUSY.name:
                busy_s = max(busy_s, sample.value)
    return Readings(inferences, pending, streams, busy_s)
