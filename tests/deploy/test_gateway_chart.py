# SPDX-License-Identifier: Apache-2.0
"""The gateway's part of the chart: HAProxy takes each rendered configuration, and the manifests belong together."""

import re
from pathlib import Path

import pytest

from deploy.gateway.haproxy_process import GatewayError, HaproxyProcess, gateway_files
from eulernet_core.limits import CALLER_HEADER, MAX_STREAMS, STREAM_HEADER
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from tests.client.secure_servers import make_certificates
from tests.deploy.gateway_cluster import need_tools
from tests.deploy.rendered_chart import of_kind, rendered

SECRETS = {"tls": {"clientCaSecret": "ca"}, "tokensSecret": "tokens"}
VARIANTS = {
    "as shipped": {},
    "plain text": {"tls": {"enabled": False}},
    "mutual TLS and tokens": SECRETS,
    "no rate limit": {"limits": {"requestsPerSecond": 0}},
    "many gateways": {"replicas": 5},
    "other names of DNS": {"discovery": {"nameservers": ["10.0.0.10:53"], "clusterDomain": "example.org"}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gateway's Secrets."""
    need_tools()
    folder = tmp_path_factory.mktemp("files")
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    for name, source in {
        "tls/tls.crt": certificates.pem("server"),
        "tls/tls.key": certificates.key("server"),
        "client-ca/ca.crt": certificates.pem("ca"),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(Path(source).read_bytes())
    (folder / "tokens").mkdir()
    (folder / "tokens" / "tokens.map").write_text(f"{'0' * 64} alice\n")
    return folder


def environment(files: Path, number: int) -> dict[str, str]:
    """As the StatefulSet sets it."""
    peers = {f"GATEWAY_PEER_{i}": "127.0.0.1" for i in range(8)}
    return {"GATEWAY_ADDRESS": "", "GATEWAY_NAME": f"eulernet-gateway-{number}", "GATEWAY_FILES": str(files), **peers}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_real_haproxy_takes_the_configuration_without_a_warning(variant: str, files: Path, tmp_path: Path) -> None:
    config = gateway_files({"gateway": VARIANTS[variant]})
    HaproxyProcess(config, tmp_path, environment(files, 1)).check()
    config["haproxy.cfg"] = config["haproxy.cfg"].replace("balance leastconn", "balance fastest")
    with pytest.raises(GatewayError):
        HaproxyProcess(config, tmp_path, environment(files, 1)).check()


def test_names_are_those_of_the_code() -> None:
    need_tools()
    config = gateway_files({"gateway": SECRETS})["haproxy.cfg"]
    assert set(re.search(r"!\{ var\(txn.model\) -m str (.*) \}", config)[1].split()) == {STREAM_MODEL, CLIP_MODEL}  # type: ignore[index]
    assert f"acl streams var(txn.model) -m str {STREAM_MODEL}\n" in config
    assert f"stick on req.hdr({STREAM_HEADER}) if {{ var(txn.model) -m str {STREAM_MODEL} }}" in config
    assert f"del-header {CALLER_HEADER}\n" in config
    assert int(re.search(r"type string len 64 size (\d+)", config)[1]) >= 8 * MAX_STREAMS  # type: ignore[index]


def test_discovery_asks_for_the_replicas_service() -> None:
    (service,) = [each for each in of_kind(rendered(), "Service") if each["spec"].get("clusterIP") == "None"]
    (config,) = of_kind(rendered(), "ConfigMap", "gateway")
    name, space = service["metadata"]["name"], "liveness"
    assert f" _grpc._tcp.{name}.{space}.svc.cluster.local " in config["data"]["haproxy.cfg"]
    ports = {each["name"]: each["port"] for each in service["spec"]["ports"]}
    assert f"http-check connect port {ports['health']} proto h1" in config["data"]["haproxy.cfg"]
    assert "grpc" in ports


def test_the_pod_has_what_the_configuration_reads() -> None:
    need_tools()
    settings = ("gateway.tls.clientCaSecret=ca", "gateway.tokensSecret=tokens", "gateway.replicas=3")
    manifests = rendered("values.yaml", *settings)
    (workload,) = of_kind(manifests, "StatefulSet", "gateway")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    (config,) = of_kind(manifests, "ConfigMap", "gateway")
    text = config["data"]["haproxy.cfg"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == {each["name"] for each in container["env"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    folders = {f"/etc/eulernet/{each}" for each in re.findall(r"\$\{GATEWAY_FILES\}/([\w-]+)/", text)}
    assert mounts == folders | {"/etc/eulernet/config"}
    peers = {each["value"] for each in container["env"] if each["name"].startswith("GATEWAY_PEER")}
    services = {each["metadata"]["name"] for each in of_kind(manifests, "Service", "gateway-peer")}
    assert peers == services == set(re.findall(r"\.if streq\(.*,(\S+)\)", text))
    assert len(peers) == 3


def test_the_grace_is_longer_than_the_drain() -> None:
    (workload,) = of_kind(rendered("values.yaml", "gateway.drainSeconds=77"), "StatefulSet", "gateway")
    pod = workload["spec"]["template"]["spec"]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    waits = [int(each) for each in re.findall(r"sleep (\d+)", hook)]
    assert waits[-1] > 77
    assert pod["terminationGracePeriodSeconds"] >= sum(waits)


def test_without_gateway_there_are_none_of_its_objects() -> None:
    assert all("gateway" not in each["metadata"]["name"] for each in rendered("values.yaml", "gateway.enabled=false"))
