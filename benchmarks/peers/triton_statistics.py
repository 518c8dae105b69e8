# SPDX-License-Identifier: Apache-2.0
"""Triton's statistics of each model, before and after a load: queue and compute times of the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tritonclient.grpc as triton

NS_PER_MS = 1e6
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Counts:
    """Counters of one model. `ns`: sums over requests, for each of PARTS; `batches`: executions by batch size."""

    requests: int = 0
    executions: int = 0
    ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    batches: dict[int, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        return self._with(other, 1)

    def __sub__(self, other: Counts) -> Counts:
        return self._with(other, -1)

    def _with(self, other: Counts, sign: int) -> Counts:
        sizes = sorted({*self.batches, *other.batches})
        batches = {size: self.batches.get(size, 0) + sign * other.batches.get(size, 0) for size in sizes}
        return Counts(
            self.requests + sign * other.requests,
            self.executions + sign * other.executions,
            {part: self.ns[part] + sign * other.ns[part] for part in PARTS},
            {size: number for size, number in batches.items() if number},
        )


@dataclass(frozen=True)
class StageTimes:
    """Mean times of one model, ms for each request; a request's compute time is its whole batch's."""

    model: str
    requests: int
    mean_batch: float
    batches: dict[int, int]
    queue_ms: float = 0.0
    compute_input_ms: float = 0.0
    compute_infer_ms: float = 0.0
    compute_output_ms: float = 0.0


def counters(url: str) -> dict[str, Counts]:
    """The present counters, by model."""
    with triton.InferenceServerClient(url, channel_args=[("grpc.enable_http_proxy", 0)]) as client:
        answer: Any = client.get_inference_statistics(as_json=False)
    return {
        model.name: Counts(
            int(model.inference_count),
            int(model.execution_count),
            {part: int(getattr(model.inference_stats, part).ns) for part in PARTS},
            {int(batch.batch_size): int(batch.compute_infer.count) for batch in model.batch_stats},
        )
        for model in answer.model_stats
    }


def difference(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> dict[str, Counts]:
    """The counts between two calls of `counters`, of models with executions; ensembles have none."""
    changes = {name: counts - before.get(name, Counts()) for name, counts in after.items()}
    return {name: counts for name, counts in changes.items() if counts.executions and counts.batches}


def stage_times(counted: Mapping[str, Counts]) -> list[StageTimes]:
    """Mean times of the counts."""
    return [
        StageTimes(
            name,
            counts.requests,
            **{f"{part}_ms": counts.ns[part] / NS_PER_MS / counts.requests for part in PARTS},
            mean_batch=counts.requests / counts.executions,
            batches=counts.batches,
        )
        for name, counts in counted.items()
    ]
