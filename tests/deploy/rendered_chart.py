# SPDX-License-Identifier: Apache-2.0
"""Runs helm on the chart: what it renders for the shipped values files, and what it says about bad ones."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.tools import HELM, ToolError

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "eulernet"
VALUES = ("values.yaml", "values-cpu.yaml", "values-gpu-node.yaml", "values-gpu-cluster.yaml")
RELEASE, NAMESPACE = "face", "liveness"
Manifest = dict[str, Any]


@functools.cache
def helm_program() -> Path:
    """The pinned helm; skips the test where it can't be fetched."""
    try:
        return HELM.fetch()
    except ToolError as error:
        pytest.skip(f"no helm: {error}")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs helm; does not check its exit status."""
    command = [helm_program(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@functools.cache
def rendered_text(values: str = VALUES[0], *settings: str) -> str:
    """The manifests for a values file of the chart, with `--set` settings such as "replicas=3"."""
    options = [each for setting in settings for each in ("--set", setting)]
    done = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", CHART / values, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(values: str = VALUES[0], *settings: str) -> list[Manifest]:
    """The parsed manifests; a new copy for each call."""
    return [each for each in yaml.safe_load_all(rendered_text(values, *settings)) if each]


def of_kind(manifests: list[Manifest], kind: str, component: str | None = "server") -> list[Manifest]:
    """The manifests of a kind, of one component of the chart."""
    label = "app.kubernetes.io/component"
    of_component = [m for m in manifests if component in (None, m["metadata"]["labels"][label])]
    return [each for each in of_component if each["kind"] == kind]


def server_pod(values: str = VALUES[0], *settings: str) -> Manifest:
    """The pod template of the replicas."""
    (deployment,) = of_kind(rendered(values, *settings), "Deployment")
    template: Manifest = deployment["spec"]["template"]
    return template


def containers(pod: Manifest) -> dict[str, Manifest]:
    """All containers of a pod template by name, init containers included."""
    spec = pod["spec"]
    return {each["name"]: each for each in (*spec.get("initContainers", []), *spec["containers"])}


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """The pod templates of all workloads."""
    for each in manifests:
        if template := each.get("spec", {}).get("template"):
            yield template
