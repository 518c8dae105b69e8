# SPDX-License-Identifier: Apache-2.0
"""The chart's ScaledObject: valid, switched by values, with queries on metrics and models that exist."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from deploy.autoscaling.replica_arithmetic import Trigger, triggers, wanted_replicas
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_serving.metric_catalog import OPEN_STREAMS
from tests.deploy import operator_schemas
from tests.deploy.rendered_chart import CHART, NAMESPACE, RELEASE, VALUES, Manifest, helm, of_kind, rendered

ON = ("autoscaling.enabled=true", "autoscaling.prometheus.url=http://prometheus.monitoring:9090")
MODELS = {path.name for path in (Path(__file__).parents[2] / "model_repository").iterdir() if path.is_dir()}


def scaled_object(*settings: str, values: str = VALUES[0]) -> Manifest:
    (found,) = of_kind(rendered(values, *ON, *settings), "ScaledObject")
    return found


def by_name(manifest: Manifest) -> dict[str, Trigger]:
    return {each.name: each for each in triggers(manifest)}


@pytest.mark.parametrize("values", VALUES)
def test_it_is_switched_on_by_a_value(values: str) -> None:
    off, on = rendered(values), rendered(values, *ON)
    assert of_kind(off, "ScaledObject", None) == []
    (deployment,) = of_kind(off, "Deployment")
    assert deployment["spec"]["replicas"] >= 1
    (deployment,) = of_kind(on, "Deployment")
    assert "replicas" not in deployment["spec"]  # an upgrade would undo what the autoscaler did
    (found,) = of_kind(on, "ScaledObject", None)
    assert found["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert found["spec"]["minReplicaCount"] >= 1


def test_the_canary_keeps_its_own_number() -> None:
    manifests = rendered(VALUES[0], *ON, "canary.enabled=true", "canary.replicas=3")
    (canary,) = of_kind(manifests, "Deployment", "canary")
    assert canary["spec"]["replicas"] == 3


def test_it_is_valid_and_a_mistake_is_found() -> None:
    manifest = scaled_object("autoscaling.prometheus.authModes=bearer", "autoscaling.prometheus.authentication=token")
    assert operator_schemas.faults(manifest) == ""
    for path, value in (
        (("minReplicaCount",), "two"),
        (("triggers", 0, "metadata", "threshold"), 10),
        (("triggers", 0, "type"), 1),
        (("scaleTargetRef",), {"kind": "Deployment"}),
        (("advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown", "policies", 0, "periodSeconds"), "9s"),
    ):
        broken = copy.deepcopy(manifest)
        part = broken["spec"]
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = value
        assert operator_schemas.faults(broken) != "", path


def test_the_queries_ask_this_service_only() -> None:
    found = by_name(scaled_object())
    selector = f'namespace="{NAMESPACE}",service="{RELEASE}-eulernet-replicas"'
    streams, queue = found["open-streams"], found["queue-milliseconds"]
    assert streams.query == f"sum({OPEN_STREAMS.name}{{{selector}}})"
    assert queue.query.count(selector) == 2
    stages, ensembles = (set(each.split("|")) for each in re.findall(r'model=~"([^"]+)"', queue.query))
    assert ensembles == {STREAM_MODEL, CLIP_MODEL}
    assert stages == MODELS  # the ensembles' own queues are empty; with one stage they are the stages


def test_the_selector_is_what_the_service_monitor_leads_to() -> None:
    manifests = rendered("values-gpu-cluster.yaml", *ON)
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [s for s in of_kind(manifests, "Service", None) if wanted <= s["metadata"]["labels"].items()]
    query = by_name(scaled_object(values="values-gpu-cluster.yaml"))["open-streams"].query
    assert f'service="{service["metadata"]["name"]}"' in query
    assert not monitor["spec"].get("jobLabel")


def test_a_lost_query_is_an_error_and_not_a_zero() -> None:
    for each in triggers(scaled_object()):
        assert each.value([]) is None
        assert each.value([float("nan")]) is None
        assert each.value([1.0, 2.0]) is None
        assert each.value([3.5]) == 3.5


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("autoscaling.minReplicas=0", "minReplicas"),
        ("autoscaling.minReplicas=9", "minReplicas"),  # above maxReplicas
        ("autoscaling.maxReplicas=40", "discovery.maxReplicas"),  # the gateway would not see them
        ("autoscaling.windowSeconds=30", "windowSeconds"),  # two scrapes
        ("autoscaling.prometheus.url=prometheus:9090", "url"),
        ("autoscaling.prometheus.url=", "url"),
        ("autoscaling.openStreams=2000", "openStreams"),  # more than a replica admits
        ("autoscaling.queueMilliseconds=0", "queueMilliseconds"),
        ("autoscaling.cooldown=5", "cooldown"),
    ],
)
def test_a_bad_value_is_refused(setting: str, named: str) -> None:
    options = [each for on in (*ON, setting) for each in ("--set", on)]
    done = helm("template", RELEASE, CHART, *options)
    assert done.returncode != 0
    assert named in done.stderr


# The chart's defaults: 2 to 8 replicas, 10 streams each, 20 ms.
@pytest.mark.parametrize(
    ("current", "ready", "streams", "queue_ms", "wanted", "reason"),
    [
        (2, 2, 20, 20, 2, "both at their targets"),
        (2, 2, 21, 20, 2, "a difference of 5 % changes nothing"),
        (2, 2, 23, 20, 3, "23 streams need 3 replicas of 10"),
        (2, 2, 20, 40, 4, "twice the time in the queues, twice the replicas"),
        (4, 3, 40, 40, 6, "only ready replicas have made the time in the queues"),
        (2, 2, 200, 1, 8, "the upper bound"),
        (6, 6, 5, 0.1, 2, "the lower bound"),
        (6, 6, 45, 0.1, 5, "the larger number counts"),
        (6, 6, None, 0.1, 6, "while a query fails the number does not fall"),
        (6, 6, None, 25, 8, "but it may rise"),
        (3, 3, None, None, 3, "without any answer it stays"),
    ],
)
def test_replicas(current: int, ready: int, streams: float | None, queue_ms: float | None, wanted: int, reason: str):
    values = {"open-streams": streams, "queue-milliseconds": queue_ms}
    assert wanted_replicas(scaled_object(), values, current, ready) == wanted, reason


def test_the_drain_of_one_replica_ends_before_the_next_goes() -> None:
    for values in VALUES:
        manifest = scaled_object(values=values)
        (deployment,) = of_kind(rendered(values, *ON), "Deployment")
        (policy,) = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["policies"]
        assert policy["periodSeconds"] >= deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert policy["value"] == 1
