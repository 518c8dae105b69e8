# SPDX-License-Identifier: Apache-2.0
"""What the chart repeats of the service is compared with its source: options, ports, times, sizes, pages, user."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

import click
import pytest
import yaml

from deploy.image import build_image
from deploy.tools import HAPROXY, ToolError
from eulernet_serving.embedded_server import EXIT_TIMEOUT_S, HOST, Ports
from eulernet_serving.serve_command import SHORTEST_STALL_S, serve
from eulernet_serving.shared_memory import NEEDED_BYTES, SHARED_MEMORY
from eulernet_serving.structured_logging import FORMATS, LEVELS
from eulernet_serving.supervision_policy import Limits
from tests.deploy.rendered_chart import CHART, VALUES, containers, of_kind, rendered, server_pod

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())["properties"]
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
DOOR_RESTART_S = 30  # a restart of the door must not cost the pod


def arguments(pod: dict[str, object]) -> dict[str, str]:
    """The options of the server's container, without their dashes."""
    return dict(each.removeprefix("--").split("=", 1) for each in containers(pod)["server"]["args"])


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


def test_the_versions_are_the_distributions() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == metadata.version("eulernet")


@pytest.mark.parametrize("values", VALUES)
def test_serve_takes_every_option(values: str) -> None:
    for settings in ((), ("repository.claim=models",)):
        given = arguments(server_pod(values, *settings))
        context = serve.make_context("serve", [f"--{name}={value}" for name, value in given.items()])
        assert isinstance(context, click.Context)
        assert context.params["command"] == ()


def test_the_supervisors_values_are_its_own_defaults() -> None:
    given, limits = DEFAULTS["supervisor"], Limits()
    assert given["readyTimeoutSeconds"] == limits.ready_timeout_s
    assert given["stallTimeoutSeconds"] == limits.stall_timeout_s
    assert given["maxRestarts"] == limits.max_restarts
    schema = SCHEMA["supervisor"]["properties"]
    assert schema["stallTimeoutSeconds"]["minimum"] == SHORTEST_STALL_S
    assert schema["logLevel"]["enum"] == list(LEVELS)
    assert schema["logFormat"]["enum"] == list(FORMATS)


@pytest.mark.parametrize("values", VALUES)
def test_the_termination_grace_is_longer_than_the_drain(values: str) -> None:
    pod = server_pod(values)
    given = arguments(pod)
    drain_s = float(given["drain-timeout-s"])
    assert float(given["drain-min-s"]) < drain_s
    assert pod["spec"]["terminationGracePeriodSeconds"] >= drain_s + EXIT_TIMEOUT_S + 5 + 10


def test_the_startup_probe_outlasts_the_supervisors_patience() -> None:
    for seconds in (60, 120, 611):
        pod = server_pod("values.yaml", f"supervisor.readyTimeoutSeconds={seconds}")
        probe = containers(pod)["server"]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds + 20
        (deployment,) = of_kind(rendered("values.yaml", f"supervisor.readyTimeoutSeconds={seconds}"), "Deployment")
        assert deployment["spec"]["progressDeadlineSeconds"] > probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.parametrize("values", VALUES)
def test_shared_memory_fits_the_largest_clip_and_counts_in_the_limit(values: str) -> None:
    pod = server_pod(values)
    server = containers(pod)["server"]
    mounts = {each["mountPath"]: each["name"] for each in server["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    shared = volumes[mounts[str(SHARED_MEMORY)]]["emptyDir"]
    assert shared["medium"] == "Memory"
    assert mebibytes(shared["sizeLimit"]) << 20 >= NEEDED_BYTES
    own = {**DEFAULTS["resources"], **yaml.safe_load((CHART / values).read_text())["resources"]}["memoryMiB"]
    limit = mebibytes(server["resources"]["limits"]["memory"])
    assert limit == own + mebibytes(shared["sizeLimit"])
    assert mebibytes(server["resources"]["requests"]["memory"]) == limit  # never the first to be evicted
    assert SCHEMA["resources"]["properties"]["sharedMemoryMiB"]["minimum"] == -(-NEEDED_BYTES // (1 << 20))


def test_the_door_carries_each_port_to_the_servers_loopback() -> None:
    pod = server_pod()
    given = arguments(pod)
    (door,) = of_kind(rendered(), "ConfigMap")
    text = door["data"]["door.cfg"]
    carried = re.findall(r"listen (\w+)\n\s+bind :(\d+)\n\s+server \w+ ([\d.]+):(\d+)", text)
    assert {name: (int(outer), host, inner) for name, outer, host, inner in carried} == {
        name: (port, HOST, given[f"{name}-port"]) for name, port in DEFAULTS["ports"].items()
    }
    assert {each["name"]: each["containerPort"] for each in containers(pod)["door"]["ports"]} == DEFAULTS["ports"]
    defaults = {name: port for name, port in vars(Ports()).items() if port} | {"health": 8003}
    assert {name: int(given[f"{name}-port"]) for name in defaults} == defaults  # of `eulernet status` and the docs
    forbidden = json.loads((CHART / "values.schema.json").read_text())["definitions"]["port"]["not"]["enum"]
    assert sorted(forbidden) == sorted(defaults.values())


def test_the_real_haproxy_accepts_the_doors_configuration(tmp_path: Path) -> None:
    try:
        haproxy = HAPROXY.fetch()
    except ToolError as error:
        pytest.skip(f"no HAProxy: {error}")
    (door,) = of_kind(rendered(), "ConfigMap")
    for text, status in ((door["data"]["door.cfg"], 0), (door["data"]["door.cfg"].replace("mode tcp", "mode udp"), 1)):
        (tmp_path / "door.cfg").write_text(text)
        command = [haproxy, "-c", "-f", tmp_path / "door.cfg"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr


def test_probes_ask_pages_of_the_health_port() -> None:
    server = containers(server_pod())["server"]
    asked = {name: server[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {each["port"] for each in asked.values()} == {DEFAULTS["ports"]["health"]}
    assert {name: each["path"] for name, each in asked.items()} == {
        "startupProbe": "/readyz",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    liveness = server["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= DOOR_RESTART_S


def test_the_user_is_the_images() -> None:
    users = set(re.findall(r"USER (\d+):(\d+)", (build_image.HERE / "Containerfile").read_text()))
    security = server_pod()["spec"]["securityContext"]
    assert users == {(str(security["runAsUser"]), str(security["runAsGroup"]))}


def test_the_image_is_tagged_as_the_build_tags_it() -> None:
    for values, target in (("values-cpu.yaml", "cpu"), ("values-gpu-node.yaml", "gpu")):
        image = containers(server_pod(values))["server"]["image"]
        assert image == f"{DEFAULTS['image']['repository']}:{build_image.version()}-{target}"
    digest = "sha256:" + "0" * 64
    image = containers(server_pod("values.yaml", f"image.digest={digest}"))["server"]["image"]
    assert image == f"{DEFAULTS['image']['repository']}@{digest}"


def test_the_log_is_where_its_container_reads_it() -> None:
    pod = server_pod()
    path = arguments(pod)["log"]
    assert path in containers(pod)["log"]["command"][-1]
    folder = str(Path(path).parent)
    for name in ("server", "log"):
        assert {"name": "log", "mountPath": folder} in containers(pod)[name]["volumeMounts"]


def test_health_pages_are_the_supervisors() -> None:
    source = (ROOT / "serving" / "eulernet_serving" / "supervisor.py").read_text()
    for path in ("/livez", "/readyz", "/metrics"):
        assert f'"{path}"' in source
