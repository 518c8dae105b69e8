# SPDX-License-Identifier: Apache-2.0
"""The chart's canary: valid manifests of its own, a configuration that HAProxy takes, and names that agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.gateway.haproxy_process import HaproxyProcess, gateway_files
from eulernet_client.rollout.shadow_command import shadow
from eulernet_core.limits import TRACK_HEADER
from tests.deploy.gateway_cluster import need_tools
from tests.deploy.rendered_chart import CHART, containers, helm, of_kind, rendered, rendered_text
from tests.deploy.test_chart_manifests import CUSTOM, validate

CANARY = "canary.enabled=true"
SHADOW = "canary.shadow.percent=5"
VERSION = ("canary.image.tag=next", "canary.repository.subPath=v2", "repository.claim=models")


def config(*settings: str) -> str:
    (found,) = of_kind(rendered("values.yaml", *settings), "ConfigMap", "gateway")
    text: str = found["data"]["haproxy.cfg"]
    return text


def test_every_manifest_is_valid_and_has_its_own_name() -> None:
    manifests = rendered("values-gpu-cluster.yaml", CANARY, SHADOW, *VERSION)
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)
    for each in manifests:
        if not each["apiVersion"].startswith(CUSTOM):
            validate(each)
    of_canary = {
        each["kind"] for each in manifests if each["metadata"]["labels"]["app.kubernetes.io/component"] == "canary"
    }
    assert of_canary == {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor"}


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_no_selector_meets_the_pods_of_the_other_version(kind: str) -> None:
    manifests = rendered("values.yaml", CANARY)
    for component, other in (("server", "canary"), ("canary", "server")):
        (deployment,) = of_kind(manifests, "Deployment", other)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(manifests, kind, component):
            spec = each["spec"]
            chosen = spec.get("podSelector") or spec["selector"]
            chosen = chosen.get("matchLabels", chosen)
            assert not chosen.items() <= labels.items()


def test_the_canary_differs_in_version_and_count_only() -> None:
    manifests = rendered("values.yaml", CANARY, "canary.replicas=3", *VERSION)
    stable, canary = (of_kind(manifests, "Deployment", each)[0]["spec"] for each in ("server", "canary"))
    assert (stable["replicas"], canary["replicas"]) == (2, 3)
    one, other = containers(stable["template"])["server"], containers(canary["template"])["server"]
    assert one["image"].endswith(":0.1.0-cpu")
    assert other["image"].endswith(":next")
    mounts = {
        name: [m.get("subPath") for m in c["volumeMounts"] if m["name"] == "repository"]
        for name, c in (("s", one), ("c", other))
    }
    assert mounts == {"s": [None], "c": ["v2"]}
    for each in (one, other):
        del each["image"], each["volumeMounts"]
    assert one == other


def test_gateway_reaches_the_canary_by_its_service() -> None:
    manifests = rendered("values.yaml", CANARY)
    (service,) = of_kind(manifests, "Service", "canary")
    assert f" _grpc._tcp.{service['metadata']['name']}.liveness.svc.cluster.local " in config(CANARY)
    (policy,) = of_kind(manifests, "NetworkPolicy", "gateway")
    peers = [peer["podSelector"]["matchLabels"] for rule in policy["spec"]["egress"] for peer in rule.get("to", [])]
    assert "canary" in {peer["app.kubernetes.io/component"] for peer in peers}


def test_the_weight_is_one_value() -> None:
    lines = [set(config(CANARY, f"canary.weight={weight}").splitlines()) for weight in (0, 10)]
    (changed,) = lines[1] - lines[0]
    assert "rand(100) lt 10 " in changed


def test_the_header_is_the_codes() -> None:
    text = config(CANARY, SHADOW)
    assert set(re.findall(r"req\.hdr\((eulernet-track\S*)\)", text)) == {TRACK_HEADER}
    assert f"req.hdr({TRACK_HEADER})" in config()


def test_without_canary_nothing_is_there() -> None:
    assert all("canary" not in each["metadata"]["name"] for each in rendered())
    assert "backend canary" not in config("canary.weight=50", SHADOW)
    assert "backend shadow" not in config(CANARY)


def test_the_shadows_command_is_one_of_the_client() -> None:
    settings = (CANARY, SHADOW, "serviceMonitor.enabled=true")
    (workload,) = of_kind(rendered("values.yaml", *settings), "StatefulSet", "gateway")
    found = containers(workload["spec"]["template"])["shadow"]
    assert 'eulernet rollout shadow "$@"' in found["command"][2]
    given = shadow.make_context("shadow", found["args"]).params
    assert given["headers"] == {TRACK_HEADER: "stable"}
    assert given["candidate_headers"] == {TRACK_HEADER: "canary"}
    assert given["url"] == given["candidate_url"]
    text = config(*settings)
    assert f"server relay {given['listen']} " in text
    assert f"bind {given['url']} " in text
    (port,) = (each["containerPort"] for each in found["ports"])
    assert given["metrics_listen"].endswith(f":{port}")
    (service,) = of_kind(rendered("values.yaml", *settings), "Service", "gateway-pods")
    assert {"name": "shadow", "port": port, "targetPort": "shadow", "protocol": "TCP"} in service["spec"]["ports"]
    (monitor,) = of_kind(rendered("values.yaml", *settings), "ServiceMonitor", "gateway")
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == ["metrics", "shadow"]


def test_the_real_haproxy_takes_the_configuration_without_a_warning(tmp_path: Path) -> None:
    need_tools()
    peers = {f"GATEWAY_PEER_{i}": "127.0.0.1" for i in range(2)}
    environment = {"GATEWAY_ADDRESS": "", "GATEWAY_NAME": "eulernet-gateway-1", "GATEWAY_FILES": "/", **peers}
    canary = {"enabled": True, "weight": 10, "shadow": {"percent": 5}}
    files = gateway_files({"gateway": {"tls": {"enabled": False}}, "canary": canary})
    HaproxyProcess(files, tmp_path, environment).check()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("canary.weight=101", "weight"),
        ("canary.weight=-1", "weight"),
        ("canary.shadow.percent=half", "percent"),
        ("canary.image.repository=x", "repository"),
        ("canary.enabled=true,gateway.enabled=false", "gateway.enabled"),
    ],
)
def test_a_bad_value_is_refused(setting: str, named: str) -> None:
    done = helm("template", "face", CHART, "--set", setting)
    assert done.returncode != 0
    assert named in done.stderr


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", CHART, "--set", f"{CANARY},{SHADOW}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary" in rendered_text("values.yaml", CANARY)
