# SPDX-License-Identifier: Apache-2.0
"""One pod of the chart's replicas for `podman play kube`, which is no cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from deploy.tools import HELM
from eulernet_serving.shared_memory import SHARED_MEMORY

CHART = Path(__file__).parents[1] / "helm" / "eulernet"
RELEASE = "check"
POD = f"{RELEASE}-eulernet-pod"
VOLUMES = tuple(f"{RELEASE}-eulernet-{each}" for each in ("scratch", "log", "door"))  # that podman makes
NOT_PLAYED = ("ports", "restartPolicy", "startupProbe", "livenessProbe", "readinessProbe")  # of a container
Manifest = dict[str, Any]


def rendered_chart(values: str, image: str, door: str) -> list[Manifest]:
    """The chart's manifests for a values file, with local images. Raises: ToolError, CalledProcessError."""
    repository, _, tag = image.rpartition(":")
    settings = [f"image.repository={repository}", f"image.tag={tag}", f"haproxy.image={door}"]
    command: list[str | Path] = [HELM.fetch(), "template", RELEASE, CHART, "--values", CHART / values]
    done = subprocess.run(
        [*command, *(option for each in settings for option in ("--set", each))],
        capture_output=True,
        text=True,
        check=True,
    )
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def playable(manifests: list[Manifest], release: str = RELEASE) -> str:
    """YAML of one replica's pod, called POD, and the ConfigMap of its door.

    It differs from the chart's pod in what podman 4 can't do:
    an init container that goes on beside the server (podman waits for its end) becomes a plain container;
    ports are left out, since podman would map them to the host's and this pod has no network;
    probes are left out, since podman would run curl inside the container: the caller asks the pages itself;
    shared memory is podman's own, since podman makes an emptyDir a folder on disk, whatever its medium.
    """
    name = f"{release}-eulernet"
    (deployment,) = [m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"] == name]
    spec = deployment["spec"]["template"]["spec"]
    initial = spec.pop("initContainers", [])
    beside = [each for each in initial if each.get("restartPolicy") == "Always"]
    if others := [each["name"] for each in initial if each not in beside]:
        raise ValueError(f"podman runs the baked repository only; init containers {', '.join(others)}")
    spec["containers"] = [_playable_container(each) for each in (*spec["containers"], *beside)]
    disks = [each for each in spec["volumes"] if each.get("emptyDir", {}).get("medium") != "Memory"]
    spec["volumes"] = [_renamed(each) for each in disks]
    doors = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == f"{name}-door"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "labels": {"app": name}}, "spec": spec}
    text: str = yaml.safe_dump_all([*doors, pod])
    return text


def _playable_container(container: Manifest) -> Manifest:
    mounts = [_renamed(each) for each in container["volumeMounts"] if each["mountPath"] != str(SHARED_MEMORY)]
    kept = {name: value for name, value in container.items() if name not in NOT_PLAYED}
    return {**kept, "volumeMounts": mounts}


def _renamed(volume: Manifest) -> Manifest:
    """With a name that no other volume of the machine has: podman keeps volumes for all pods by name."""
    return {**volume, "name": f"{RELEASE}-eulernet-{volume['name']}"}
