# SPDX-License-Identifier: Apache-2.0
"""Alert rules, Alertmanager's example and dashboards: valid, tested, of metrics that exist, and documented."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deploy import tools
from deploy.monitoring.grafana_dashboards import COLUMNS, FOLDER, dashboard_json
from deploy.monitoring.live_monitoring import filled_in
from deploy.monitoring.panels import BOARDS
from deploy.tools import AMTOOL, PROMTOOL, ROOT, DebianTool, ToolError
from eulernet_core.limits import MAX_STREAMS
from eulernet_serving.metric_catalog import CATALOG, STATUS_WORDS, Kind

MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "alert_rules.yaml"
TESTS = MONITORING / "alert_rules_test.yaml"
TRITON_METRICS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
}
GATEWAY_METRICS = {
    "haproxy_backend_active_servers",
    "haproxy_frontend_http_responses_total",
    "haproxy_frontend_current_sessions",
}
PANELS = [(board.uid, panel) for board in BOARDS for row in board.rows for panel in row.panels]


def run(tool: DebianTool, *arguments: str | Path, cwd: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    """Runs a tool of Prometheus or Alertmanager; skips the test where it can't be fetched."""
    try:
        command = tool.command()
    except ToolError as error:
        pytest.skip(f"no {tool.name}: {error}")
    return subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """The recording rules ("record") or the alerts ("alert") by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics in an expression."""
    unquoted = re.sub(r'"[^"]*"', '""', expr)
    return set(re.findall(r"\b(?:eulernet|nv|haproxy)[_:][\w:]+", unquoted))


def known_metrics() -> set[str]:
    """All that a dashboard or a rule may use."""
    histograms = {spec.name for spec in CATALOG if spec.kind is Kind.HISTOGRAM}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    return (
        {spec.name for spec in CATALOG} - histograms | parts | TRITON_METRICS | GATEWAY_METRICS | set(rules("record"))
    )


def test_a_tool_that_cannot_be_fetched_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "TOOLS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    with pytest.raises(ToolError, match="apt-get"):
        PROMTOOL.command()


def test_the_rules_pass_their_tests() -> None:
    done = run(PROMTOOL, "test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_never_fires_fails_the_tests(tmp_path: Path) -> None:
    broken = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in broken["groups"] for rule in group["rules"] if "alert" in rule):
        rule["expr"] = "vector(1) > 2"
    (tmp_path / RULES.name).write_text(yaml.safe_dump(broken))
    (tmp_path / TESTS.name).write_bytes(TESTS.read_bytes())
    done = run(PROMTOOL, "test", "rules", TESTS.name, cwd=tmp_path)
    assert done.returncode != 0
    assert [alert for alert in rules("alert") if alert not in done.stdout + done.stderr] == []


def test_the_configurations_are_valid_and_a_mistake_is_found(tmp_path: Path) -> None:
    assert run(PROMTOOL, "check", "config", "prometheus.yaml").returncode == 0
    assert run(AMTOOL, "check-config", "alertmanager.yaml").returncode == 0
    wrong = (MONITORING / "alertmanager.yaml").read_text().replace("receiver: pager", "receiver: pagr")
    (tmp_path / "alertmanager.yaml").write_text(wrong)
    assert run(AMTOOL, "check-config", tmp_path / "alertmanager.yaml").returncode != 0


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=EulerNetNoReplicaReady severity=critical", "pager"),
        ("alertname=EulerNetStageDied severity=warning", "tickets"),
        ("alertname=EulerNetFramesDegraded severity=info", "nobody"),
    ],
)
def test_alerts_reach_their_receiver(labels: str, receiver: str) -> None:
    done = run(AMTOOL, "config", "routes", "test", "--config.file=alertmanager.yaml", *labels.split())
    assert done.stdout.strip() == receiver, done.stderr


def test_the_example_names_alerts_that_exist() -> None:
    text = (MONITORING / "alertmanager.yaml").read_text()
    assert set(re.findall(r"EulerNet\w+", text)) <= set(rules("alert"))


@pytest.mark.parametrize("name", [*rules("record"), *rules("alert")])
def test_a_rule_uses_metrics_that_exist(name: str) -> None:
    rule = (rules("record") | rules("alert"))[name]
    used = metrics_of(rule["expr"])
    assert used
    assert used <= known_metrics()
    if "alert" in rule:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_words_and_limits_in_the_rules_are_the_service_s() -> None:
    text = RULES.read_text()
    words = {word for found in re.findall(r'(?:status|flag)[!=~]+"([^"]+)"', text) for word in found.split("|")}
    assert words <= set(STATUS_WORDS)
    assert f"eulernet_open_streams > 0.9 * {MAX_STREAMS}" in text


@pytest.mark.parametrize("number", range(len(PANELS)))
def test_a_panel_asks_for_metrics_that_exist(number: int) -> None:
    for query in PANELS[number][1].queries:
        promql_parser.parse(filled_in(query.expr, 60))
        assert metrics_of(query.expr) <= known_metrics()


def test_the_parser_finds_a_mistake() -> None:
    with pytest.raises(ValueError, match="."):
        promql_parser.parse(filled_in("sum by (model (rate(eulernet_frames_total[$__rate_interval]))", 60))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_committed_dashboard_is_the_generated_one(board: Any) -> None:
    text = (FOLDER / f"{board.uid}.json").read_text()
    assert text == dashboard_json(board), "run python -m deploy.monitoring.grafana_dashboards"
    model = json.loads(text)
    panels = [panel for panel in model["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in panels] == [panel.title for row in board.rows for panel in row.panels]
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
    variables = {each["name"] for each in model["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"} <= variables


def test_the_docs_name_every_metric_and_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    for spec in CATALOG:
        labels = f"{{{','.join(spec.labels)}}}" if spec.labels else ""
        assert f"| `{spec.name}{labels}` | {spec.kind.value} | {spec.meaning} | {spec.watch} |" in page
    documented = dict(re.findall(r"^\| `(EulerNet\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert documented == {name: rule["labels"]["severity"] for name, rule in rules("alert").items()}
