# SPDX-License-Identifier: Apache-2.0
"""Drift: the reference is read from metrics pages, and the real promtool finds a shift of scores or of STATUS."""

import json
import math
import subprocess
from pathlib import Path

import onnx
import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from deploy.monitoring import drift_reference, drift_rules
from deploy.monitoring.drift_reference import DriftReference, DriftReferenceError, make_reference
from deploy.monitoring.drift_rules import OTHER, DriftSettings, rules_text, score_bins, status_bins
from deploy.tools import PROMTOOL, ToolError
from eulernet_core.shipped import weights
from eulernet_core.tensors import CLIP_MODEL, CLIP_NETWORK_MODEL, STREAM_MODEL
from eulernet_core.weights_label import WEIGHTS_SIMULATED, identity
from eulernet_serving.metric_catalog import FRAMES, LIVENESS, LIVENESS_BUCKETS, MODEL_INFO, STATUS_WORDS

ROOT = Path(__file__).parents[2]
SHIPPED = weights().with_name(drift_reference.NAME)
RULES = ROOT / "deploy" / "monitoring" / "drift_rules.yaml"
JOB, CANARY = "face-eulernet-replicas", "face-eulernet-canary-replicas"
HOURS = 2
USUAL = [400, 50, 25, 10, 5, 5, 0, 0, 0, 5, 0, 5, 0, 5, 10, 10, 20, 50, 100, 300]
STATUSES = {**dict.fromkeys(STATUS_WORDS, 0), "ok": 3600, "no_face": 300, "undecodable": 60, "relocated": 40}
REFERENCE = DriftReference(
    "simulated: invented", "simulated", "0123456789abcdef", "fp32", {CLIP_MODEL: USUAL}, {CLIP_MODEL: STATUSES}
)


@pytest.fixture(scope="module")
def promtool():
    try:
        return PROMTOOL.command()
    except ToolError as error:
        pytest.skip(str(error))


def page(scores, statuses, model=CLIP_MODEL, info=("simulated", "0123456789abcdef", "fp32")):
    """A metrics page as the official client writes it."""
    registry = CollectorRegistry()
    histogram = Histogram(LIVENESS.name, "x", LIVENESS.labels, buckets=LIVENESS_BUCKETS, registry=registry)
    for score in scores:
        histogram.labels(model).observe(score)
    frames = Counter(FRAMES.name, "x", FRAMES.labels, registry=registry)
    for status, count in statuses.items():
        frames.labels(model, status).inc(count)
    Gauge(MODEL_INFO.name, "x", MODEL_INFO.labels, registry=registry).labels(*info).set(1)
    return generate_latest(registry).decode()


def test_the_reference_holds_what_the_pages_count():
    scores = [0.0, 0.05, 0.051, 1.0] * 30
    found = make_reference([page(scores, {"ok": 8, "no_face": 2}), page(scores, {"ok": 1})], "simulated: test")
    assert found.liveness == {CLIP_MODEL: [120, 60, *[0] * 17, 60]}
    assert found.status == {CLIP_MODEL: {"ok": 9, "no_face": 2}}
    assert (found.weights, found.sha256, found.precision) == ("simulated", "0123456789abcdef", "fp32")


@pytest.mark.parametrize(
    "pages",
    [
        [],
        [page([], {})],
        [page([0.5] * 99, {"ok": 1})],
        [page([0.5] * 200, {}), page([0.5] * 200, {}, info=("other", "1", "bf16"))],
        [page([0.5] * 200, {}), page([0.5], {}, model=STREAM_MODEL)],
    ],
    ids=["no page", "no scores", "too few", "two models", "too few of one"],
)
def test_no_reference_without_enough_scores_of_one_model(pages):
    with pytest.raises(DriftReferenceError):
        make_reference(pages, "x")


def test_a_reference_is_read_as_it_was_written(tmp_path):
    REFERENCE.write(tmp_path / "reference.json")
    assert DriftReference.read(tmp_path / "reference.json") == REFERENCE
    for key, value in (("liveness", {CLIP_MODEL: [1, 2]}), ("status", {CLIP_MODEL: {"ok": -1}}), ("more", 1)):
        broken = {**json.loads((tmp_path / "reference.json").read_text()), key: value}
        (tmp_path / "broken.json").write_text(json.dumps(broken))
        with pytest.raises(DriftReferenceError, match="broken.json"):
            DriftReference.read(tmp_path / "broken.json")


def test_bins_have_the_least_share_and_cover_everything():
    bins = score_bins(USUAL, 0.05)
    assert sum(share for *_, share in bins) == pytest.approx(1)
    assert min(share for *_, share in bins) >= 0.05
    assert [low for low, *_ in bins] == [0.0, *(high for _, high, _ in bins[:-1])]
    assert bins[-1][1] == LIVENESS_BUCKETS[-1]
    assert score_bins([0] * 19 + [7], 0.05) == [(0.0, 1.0, 1.0)]
    assert score_bins([7] + [0] * 19, 0.05) == [(0.0, 1.0, 1.0)]
    shares = status_bins(STATUSES, DriftSettings())
    assert shares == {"ok": 0.9, "no_face": 0.075, "undecodable": 0.015, "relocated": 0.01, OTHER: 0.001}


def series(job, counts, statuses, factor=1.0):
    """Counters that rise every five minutes by these counts, as promtool writes series."""

    def rising(name, labels, count):
        text = ",".join(f'{key}="{value}"' for key, value in {"namespace": "n", "job": job, **labels}.items())
        return {"series": f"{name}{{{text}}}", "values": f"0+{count * factor:g}x{12 * HOURS}"}

    model = {"model": CLIP_MODEL}
    totals = [sum(counts[: number + 1]) for number in range(len(counts))]
    bounds = [f"{bound:g}" for bound in LIVENESS_BUCKETS]
    rows = [rising(f"{LIVENESS.name}_bucket", {**model, "le": b}, t) for b, t in zip(bounds, totals, strict=True)]
    rows.append(rising(f"{LIVENESS.name}_bucket", {**model, "le": "+Inf"}, totals[-1]))
    rows.append(rising(f"{LIVENESS.name}_count", model, totals[-1]))
    return [*rows, *(rising(FRAMES.name, {**model, "status": s}, count) for s, count in statuses.items())]


def psi(seen, expected, floor=DriftSettings.floor):
    """The population stability index of two sequences of shares."""
    pairs = [(max(a, floor), max(r, floor)) for a, r in zip(seen, expected, strict=True)]
    return sum((a - r) * math.log(a / r) for a, r in pairs)


def moved(counts, source, target, share):
    """The counts after a share of one place has moved to another."""
    result = counts.copy()
    step = counts[source] * share
    result[source] -= step
    result[target] += step
    return result


SHIFTED = moved(USUAL, 0, 18, 0.8)  # most attacks score as bona fide
NO_FACES = moved(STATUSES, "ok", "no_face", 0.5)
INFO = 'eulernet_model_info{{namespace="n",job="{}",sha256="{}",weights="w",precision="fp32"}}'
SCENARIOS = {
    "as the reference": (series(JOB, USUAL, STATUSES), set()),
    "scores shift": (series(JOB, SHIFTED, STATUSES), {("EulerNetLivenessDrifts", JOB)}),
    "too few to say": (series(JOB, SHIFTED, NO_FACES, 0.001), set()),
    "faces vanish": (series(JOB, USUAL, NO_FACES), {("EulerNetStatusDrifts", JOB)}),
    "a status that was never seen": (
        series(JOB, USUAL, moved(STATUSES, "ok", "degraded", 0.4)),
        {("EulerNetStatusDrifts", JOB)},
    ),
    "a canary like its stable version, both drifting": (
        [*series(JOB, SHIFTED, STATUSES), *series(CANARY, SHIFTED, STATUSES, 0.1)],
        {("EulerNetLivenessDrifts", JOB), ("EulerNetLivenessDrifts", CANARY)},
    ),
    "a canary with other scores": (
        [*series(JOB, USUAL, STATUSES), *series(CANARY, SHIFTED, STATUSES, 0.1)],
        {("EulerNetLivenessDrifts", CANARY), ("EulerNetCanaryScoresDiffer", JOB)},
    ),
    "a canary with other STATUS": (
        [*series(JOB, USUAL, STATUSES), *series(CANARY, USUAL, NO_FACES, 0.1)],
        {("EulerNetStatusDrifts", CANARY), ("EulerNetCanaryStatusDiffers", JOB)},
    ),
    "weights of the reference": ([{"series": INFO.format(JOB, REFERENCE.sha256), "values": "1x24"}], set()),
    "other weights": (
        [{"series": INFO.format(JOB, "fedcba9876543210"), "values": "1x24"}],
        {("EulerNetDriftReferenceOfOtherWeights", JOB)},
    ),
}


def promtool_test(promtool, folder, scenarios):
    """Runs promtool on the rules of REFERENCE. `scenarios`: for each the series, and the expected samples by query."""
    (folder / "drift_rules.yaml").write_text(rules_text(REFERENCE, DriftSettings(window="1h", interval="5m")))
    tests = [
        {
            "name": name,
            "interval": "5m",
            "input_series": given,
            "promql_expr_test": [
                {"expr": query, "eval_time": f"{HOURS}h", "exp_samples": samples} for query, samples in expected.items()
            ],
        }
        for name, (given, expected) in scenarios.items()
    ]
    settings = {"rule_files": ["drift_rules.yaml"], "evaluation_interval": "5m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(settings, width=1000))
    command = [*promtool, "test", "rules", "tests.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_shift_raises_its_alert_and_no_other(promtool, tmp_path):
    query = 'count by (alertname, job) (ALERTS{alertstate="firing"})'
    expected = {
        name: (
            given,
            {query: [{"labels": f'{{alertname="{alert}", job="{job}"}}', "value": 1} for alert, job in sorted(alerts)]},
        )
        for name, (given, alerts) in SCENARIOS.items()
    }
    done = promtool_test(promtool, tmp_path, expected)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = {"no shift": (SCENARIOS["as the reference"][0], expected["scores shift"][1])}
    assert promtool_test(promtool, tmp_path, wrong).returncode != 0


def test_the_index_is_the_formula(promtool, tmp_path):
    bins = score_bins(USUAL, DriftSettings.least_share)
    seen = [
        sum(count for bound, count in zip(LIVENESS_BUCKETS, SHIFTED, strict=True) if low < bound <= high) / sum(SHIFTED)
        for low, high, _ in bins
    ]
    liveness = psi(seen, [share for *_, share in bins])
    expected = status_bins(STATUSES, DriftSettings())
    total = sum(NO_FACES.values())
    status = psi([NO_FACES.get(name, 0) / total for name in expected], list(expected.values()))
    assert liveness > 0.25
    near = {
        f"abs(eulernet:{what}:psi1h - {value:.9f}) < bool 1e-4": [
            {"labels": f'{{namespace="n", job="{JOB}", model="{CLIP_MODEL}"}}', "value": 1}
        ]
        for what, value in (("liveness", liveness), ("status", status))
    }
    done = promtool_test(promtool, tmp_path, {"both": (series(JOB, SHIFTED, NO_FACES), near)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_rules_are_those_of_the_shipped_reference(promtool):
    reference = DriftReference.read(SHIPPED)
    assert WEIGHTS_SIMULATED in reference.origin
    assert RULES.read_text() == rules_text(reference), f"run {drift_rules.__name__} again"
    done = subprocess.run([*promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_is_of_the_shipped_weights():
    graph = onnx.load(ROOT / "model_repository" / CLIP_NETWORK_MODEL / "1" / "model.onnx", load_external_data=False)
    parameters = {each.key: each.value for each in graph.metadata_props}["parameters_sha256"]
    found = DriftReference.read(SHIPPED).sha256
    assert identity(parameters).startswith(found), "make the reference again, see docs/rollout.md"


def test_the_command_writes_rules(tmp_path):
    REFERENCE.write(tmp_path / "reference.json")
    given = [
        str(tmp_path / "reference.json"),
        "--out",
        str(tmp_path / "rules.yaml"),
        "--window",
        "2h",
        "--limit",
        "0.5",
    ]
    done = CliRunner().invoke(drift_rules.main, given)
    assert done.exit_code == 0, done.output
    rules = [
        rule for group in yaml.safe_load((tmp_path / "rules.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    assert {rule["record"] for rule in rules if "record" in rule} >= {
        "eulernet:liveness:psi2h",
        "eulernet:status:share2h",
    }
    assert next(rule for rule in rules if rule.get("alert") == "EulerNetLivenessDrifts")["expr"].endswith("> 0.5")
    (tmp_path / "reference.json").write_text("{}")
    assert CliRunner().invoke(drift_rules.main, given).exit_code == 1
