# SPDX-License-Identifier: Apache-2.0
"""The rendered manifests are valid Kubernetes, and say what the service needs."""

from __future__ import annotations

import copy

import kubernetes_validate
import pytest

from tests.deploy import operator_schemas
from tests.deploy.rendered_chart import (
    NAMESPACE,
    RELEASE,
    VALUES,
    Manifest,
    containers,
    of_kind,
    pods,
    rendered,
    server_pod,
)

KUBERNETES = ("1.30", "1.34")
CUSTOM = "monitoring.coreos.com"


def validate(manifest: Manifest, version: str = KUBERNETES[-1]) -> None:
    """Raises: ValidationError for a wrong type, a missing or an unknown field."""
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_every_manifest_is_valid(values: str, version: str) -> None:
    manifests = rendered(values)
    native = [each for each in manifests if not each["apiVersion"].startswith(CUSTOM)]
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= {each["kind"] for each in native}
    for each in native:
        validate(each, version)
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replica"), 2),
        (("spec", "replicas"), "two"),
        (("spec", "template", "spec", "terminationGracePeriod"), 90),
        (("spec", "template", "spec", "containers", 0, "livenessProbe", "failureTreshold"), 3),
        (("spec", "template", "spec", "containers", 0, "startupProbe", "httpGet", "port"), [9003]),
        (("spec", "template", "spec", "topologySpreadConstraints", 0, "maxSkew"), "1"),
        (("spec", "template", "spec", "volumes", 0, "emptyDir", "sizelimit"), "1Gi"),
    ],
)
def test_a_planted_mistake_is_found(path: tuple[str | int, ...], value: object) -> None:
    (deployment,) = of_kind(rendered(), "Deployment")
    validate(deployment)
    broken = copy.deepcopy(deployment)
    part = broken
    for step in path[:-1]:
        part = part[step]  # type: ignore[index]
    part[path[-1]] = value  # type: ignore[index]
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(broken)


def test_the_service_monitor_is_valid_and_a_mistake_is_found() -> None:
    (monitor,) = of_kind(rendered("values-gpu-cluster.yaml"), "ServiceMonitor")
    assert operator_schemas.faults(monitor) == ""
    for key, value in (("interval", "15 seconds"), ("path", 1)):
        broken = copy.deepcopy(monitor)
        broken["spec"]["endpoints"][0][key] = value
        assert key in operator_schemas.faults(broken)


def test_the_service_monitor_finds_the_replicas_metrics() -> None:
    manifests = rendered("values-gpu-cluster.yaml")
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [s for s in of_kind(manifests, "Service", None) if wanted <= s["metadata"]["labels"].items()]
    (service,) = found
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
        each["name"] for each in service["spec"]["ports"]
    }


@pytest.mark.parametrize("values", VALUES)
def test_every_container_is_confined_and_bounded(values: str) -> None:
    for pod in pods(rendered(values)):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
        for name, container in containers(pod).items():
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"] is True, name
            assert confined["allowPrivilegeEscalation"] is False, name
            assert confined["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name
        for volume in pod["spec"].get("volumes", []):
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], volume["name"]


@pytest.mark.parametrize("values", VALUES)
def test_selectors_find_the_replicas(values: str) -> None:
    manifests = rendered(values)
    labels = server_pod(values)["metadata"]["labels"].items()
    services = of_kind(manifests, "Service")
    (headless,) = [each for each in services if each["spec"].get("clusterIP") == "None"]
    assert headless["metadata"]["name"] == f"{RELEASE}-eulernet-replicas"
    assert headless["spec"]["publishNotReadyAddresses"] is True
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    (policy,) = of_kind(manifests, "NetworkPolicy")
    (deployment,) = of_kind(manifests, "Deployment")
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        headless["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        policy["spec"]["podSelector"]["matchLabels"],
        deployment["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ]
    assert all(each.items() <= labels for each in selectors)
    # helm sets the namespace at the install; no manifest may state another one.
    assert {each["metadata"].get("namespace", NAMESPACE) for each in manifests} == {NAMESPACE}


def test_replicas_are_spread_over_zones_and_nodes() -> None:
    spread = server_pod("values-gpu-cluster.yaml")["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"]: each["whenUnsatisfiable"] for each in spread} == {
        "topology.kubernetes.io/zone": "DoNotSchedule",
        "kubernetes.io/hostname": "ScheduleAnyway",
    }


def test_only_gateway_and_monitoring_reach_a_replica() -> None:
    (policy,) = of_kind(rendered("values-gpu-cluster.yaml"), "NetworkPolicy")
    spec = policy["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["egress"] == []
    gateway, monitoring = spec["ingress"]
    (peer,) = gateway["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert [each["port"] for each in gateway["ports"]] == [9001, 9003]
    assert monitoring["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert [each["port"] for each in monitoring["ports"]] == [9002, 9003]


def test_without_gateway_nobody_reaches_a_replica_unless_named() -> None:
    (policy,) = of_kind(rendered("values.yaml", "gateway.enabled=false"), "NetworkPolicy")
    assert policy["spec"]["ingress"] in (None, [])
    opened = ("gateway.enabled=false", "networkPolicy.clients[0].podSelector.matchLabels.app=kiosk")
    (policy,) = of_kind(rendered("values.yaml", *opened), "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "kiosk"}}}]
    validate(policy)
    (service,) = of_kind(rendered("values.yaml", *opened), "Service", "clients")
    validate(service)


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb"])
def test_a_replica_has_one_gpu_or_one_slice(resource: str) -> None:
    pod = server_pod("values-gpu-node.yaml", f"gpu.resource={resource}")
    resources = containers(pod)["server"]["resources"]
    assert resources["limits"][resource] == resources["requests"][resource] == 1
    cpu = containers(server_pod("values-cpu.yaml"))["server"]["resources"]["limits"]
    assert not [each for each in cpu if each.startswith("nvidia.com")]


def test_a_repository_on_a_volume_is_verified_before_the_server_starts() -> None:
    pod = server_pod("values-cpu.yaml", "repository.claim=models", "repository.subPath=v2")
    assert pod["spec"]["initContainers"][0]["name"] == "verify"
    mount = {"name": "repository", "mountPath": "/repository", "readOnly": True, "subPath": "v2"}
    verify, server = containers(pod)["verify"], containers(pod)["server"]
    assert verify["command"] == ["eulernet", "repository", "--verify", "/repository"]
    assert "restartPolicy" not in verify  # it must end, and well, before the server starts
    assert "--repository=/repository" in server["args"]
    assert mount in verify["volumeMounts"]
    assert mount in server["volumeMounts"]
    claims = [each["persistentVolumeClaim"] for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert claims == [{"claimName": "models", "readOnly": True}]

    baked = server_pod("values-cpu.yaml")
    assert "verify" not in containers(baked)
    assert not [each for each in containers(baked)["server"]["args"] if each.startswith("--repository")]


def test_a_change_of_the_doors_configuration_replaces_the_pods() -> None:
    one, other = (server_pod("values.yaml", f"ports.grpc={port}")["metadata"]["annotations"] for port in (9001, 9101))
    assert one["eulernet/door"] != other["eulernet/door"]


def test_one_node_needs_no_second_gpu_for_an_update() -> None:
    (deployment,) = of_kind(rendered("values-gpu-node.yaml"), "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
