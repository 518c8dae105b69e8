# SPDX-License-Identifier: Apache-2.0
"""The number of replicas that a ScaledObject leads to, by the HorizontalPodAutoscaler's rules for external metrics.

Follows kubernetes.io, "Horizontal Pod Autoscaling", algorithm details. The pace of a change (`behavior`) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLERANCE = 0.1  # Kubernetes' default: a smaller relative difference changes nothing
_MILLI = 1000  # Kubernetes' quantities of KEDA's metrics are thousandths


@dataclass(frozen=True)
class Trigger:
    """One trigger of a ScaledObject. `average`: the target is for each replica (metricType AverageValue)."""

    name: str
    query: str
    target: float
    average: bool
    ignore_nothing: bool

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Trigger:
        """From the manifest's entry."""
        metadata = manifest["metadata"]
        return cls(
            name=manifest["name"],
            query=metadata["query"],
            target=float(metadata["threshold"]),
            average=manifest.get("metricType", "AverageValue") == "AverageValue",
            ignore_nothing=metadata.get("ignoreNullValues", "true") == "true",
        )

    def value(self, answer: Sequence[float]) -> float | None:
        """The metric that KEDA makes of the query's answer, or None for an error.

        Args:
            answer: the values of an instant query's vector.
        """
        if len(answer) > 1:
            return None
        if not answer or not math.isfinite(answer[0]):
            return 0.0 if self.ignore_nothing else None
        return answer[0]

    def replicas(self, value: float, current: int, ready: int) -> int:
        """Replicas for a value of the metric. `current`: of the Deployment; `ready`: of them."""
        amount, target = math.floor(value * _MILLI), self.target * _MILLI
        ratio = amount / (target * current) if self.average else amount / target
        if abs(1 - ratio) <= TOLERANCE:
            return current
        return math.ceil(amount / target) if self.average else math.ceil(ratio * ready)


def triggers(scaled_object: Mapping[str, Any]) -> list[Trigger]:
    """The triggers of a ScaledObject."""
    return [Trigger.of(each) for each in scaled_object["spec"]["triggers"]]


def wanted_replicas(
    scaled_object: Mapping[str, Any], values: Mapping[str, float | None], current: int, ready: int | None = None
) -> int:
    """The largest number of all triggers, within the ScaledObject's bounds.

    Args:
        values: of the metric, by the trigger's name; None: the query failed. With a failure the number never falls.
        current: replicas now, at least one.
        ready: of them; all by default.
    """
    spec = scaled_object["spec"]
    ready = current if ready is None else ready
    wanted = [
        each.replicas(value, current, ready)
        for each in triggers(scaled_object)
        if (value := values[each.name]) is not None
    ]
    most = max(wanted, default=current)
    if None in values.values():
        most = max(most, current)
    return int(min(max(most, spec["minReplicaCount"]), spec["maxReplicaCount"]))
