# SPDX-License-Identifier: Apache-2.0
"""The chart's values: the shipped files pass, bad ones are refused with the name of the value."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.deploy.rendered_chart import CHART, VALUES, helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("values", VALUES)
def test_lint_finds_nothing(values: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", CHART / values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("target=tpu", "target"),
        ("replicas=-1", "replicas"),
        ("replicas=two", "replicas"),
        ("replica=3", "replica"),  # a typo
        ("supervisor.drainTimeout=30", "drainTimeout"),
        ("supervisor.stallTimeoutSeconds=10", "stallTimeoutSeconds"),
        ("supervisor.drainMinSeconds=60", "drainMinSeconds"),  # as long as the drain
        ("resources.sharedMemoryMiB=64", "sharedMemoryMiB"),
        ("resources.memoryMiB=3Gi", "memoryMiB"),
        ("gpu.resource=amd.com/gpu", "resource"),
        ("gpu.count=2", "count"),
        ("image.digest=sha256:12", "digest"),
        ("ports.grpc=8001", "grpc"),  # the server's own, on the loopback of the same pod
        ("update.maxSurge=0", "update"),  # maxUnavailable is 0: no replica could ever be replaced
        ("scheduling.zones=Never", "zones"),
        ("gateway.enabled=maybe", "enabled"),
    ],
)
def test_a_bad_value_is_refused(setting: str, named: str) -> None:
    done = helm("template", "face", CHART, "--set", setting)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_schema_knows_every_value() -> None:
    """A value without a schema would be checked by nobody."""

    def compare(values: dict[str, object], schema: dict[str, object], path: str) -> None:
        known = schema.get("properties")
        if known is None:
            return
        assert isinstance(known, dict)
        assert set(values) <= set(known), path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, known[name], f"{path}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA, "")


def test_values_files_only_override() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in VALUES[1:]:
        for section, value in yaml.safe_load((CHART / name).read_text()).items():
            assert section in defaults, name
            if isinstance(value, dict):
                assert set(value) <= set(defaults[section]), f"{name}: {section}"


def test_a_template_reads_each_section() -> None:
    templates = "".join(path.read_text() for path in (CHART / "templates").glob("*.*"))
    for section in yaml.safe_load((CHART / "values.yaml").read_text()):
        assert re.search(rf"\.{section}\b", templates), section
