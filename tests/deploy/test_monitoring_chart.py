# SPDX-License-Identifier: Apache-2.0
"""The chart brings the rules and the dashboards into the cluster."""

from __future__ import annotations

import copy
import json

import pytest
import yaml

from deploy.monitoring.grafana_dashboards import FOLDER
from deploy.monitoring.panels import BOARDS
from deploy.tools import ROOT
from tests.deploy import operator_schemas
from tests.deploy.rendered_chart import Manifest, of_kind, rendered
from tests.deploy.test_chart_manifests import validate

ALL = "values-gpu-cluster.yaml"
RULES = ROOT / "deploy" / "monitoring"


def dashboards(*settings: str) -> list[Manifest]:
    """The ConfigMaps that Grafana's sidecar finds."""
    return [
        each
        for each in of_kind(rendered(ALL, *settings), "ConfigMap")
        if each["metadata"]["name"].endswith("dashboards")
    ]


def test_the_rules_are_the_tested_ones_and_valid() -> None:
    found = {each["metadata"]["name"]: each for each in of_kind(rendered(ALL), "PrometheusRule")}
    files = {
        f"face-eulernet-{path.stem.replace('_', '-').removesuffix('-rules')}": path
        for path in RULES.glob("*_rules.yaml")
    }
    assert set(found) == set(files)
    for name, manifest in found.items():
        assert manifest["spec"] == yaml.safe_load(files[name].read_text())
        assert operator_schemas.faults(manifest) == ""


@pytest.mark.parametrize(("field", "value"), [("expr", None), ("for", "5 minutes")])
def test_a_mistake_in_a_rule_is_found(field: str, value: object) -> None:
    manifest = copy.deepcopy(of_kind(rendered(ALL), "PrometheusRule")[0])
    manifest["spec"]["groups"][-1]["rules"][0][field] = value
    assert field in operator_schemas.faults(manifest)


def test_the_dashboards_are_the_generated_ones() -> None:
    (manifest,) = dashboards("dashboards.annotations.grafana_folder=EulerNet")
    validate(manifest)
    assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert manifest["metadata"]["annotations"] == {"grafana_folder": "EulerNet"}
    assert set(manifest["data"]) == {f"{board.uid}.json" for board in BOARDS}
    for name, text in manifest["data"].items():
        assert json.loads(text) == json.loads((FOLDER / name).read_text())


def test_each_part_is_off_unless_asked_for() -> None:
    kinds = {each["kind"] for each in rendered()}
    assert "PrometheusRule" not in kinds
    assert dashboards("dashboards.enabled=false") == []
    labelled = of_kind(
        rendered("values.yaml", "prometheusRule.enabled=true", "prometheusRule.labels.release=p"), "PrometheusRule"
    )
    assert {each["metadata"]["labels"]["release"] for each in labelled} == {"p"}
