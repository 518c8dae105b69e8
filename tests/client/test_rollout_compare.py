# SPDX-License-Identifier: Apache-2.0
"""What a candidate would change, from two score tables and from two real servers."""

import csv
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from eulernet_client.batch.row import COLUMNS
from eulernet_client.batch.score_table import write_table
from eulernet_client.errors import TableError
from eulernet_client.rollout.presentation_labels import label_of, read_labels
from eulernet_client.rollout.rollout_command import rollout
from eulernet_client.rollout.score_pairs import Answered, Pair, paired, percentile
from eulernet_client.rollout.score_tables import read_answers
from eulernet_client.rollout.version_comparison import Limits, compare
from eulernet_core.attack_detection_metrics import MetricsError

STABLE = {"a/live1.mp4": 0.9, "a/live2.mp4": 0.8, "a/print1.mp4": 0.1, "a/print2.mp4": 0.2, "a/replay.mp4": 0.3}
CANDIDATE = {**STABLE, "a/live2.mp4": 0.4, "a/print2.mp4": 0.7, "a/replay.mp4": None}
LABELS = {"live1.mp4": "live,", "live2.mp4": "live,", "print1.mp4": "attack,print1", "print2.mp4": "attack,print1"}


def row(path, liveness, seconds=0.1):
    """A row as `eulernet score --out` writes it."""
    given = {"path": path, "liveness": liveness, "clip_liveness": [], "warnings": [], "frames": 4, "seconds": seconds}
    error = None if liveness is not None else "NoFaceError"
    return {**dict.fromkeys(COLUMNS), **given, "error_type": error}


@pytest.fixture(params=["parquet", "csv", "jsonl"])
def tables(request, tmp_path):
    """The tables of both versions in one of the formats."""
    paths = []
    for name, scores, seconds in (("stable", STABLE, 0.1), ("candidate", CANDIDATE, 0.15)):
        paths.append(tmp_path / f"{name}.{request.param}")
        write_table(paths[-1], [row(path, liveness, seconds) for path, liveness in scores.items()])
    return paths


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    lines = [f"{name},{rest}" for name, rest in LABELS.items()]
    path.write_text("\n".join(["path,label,instrument", *lines, "replay.mp4,attack,replay1", ""]))
    return path


def run(*arguments):
    return CliRunner().invoke(rollout, ["compare", *map(str, arguments)])


def test_changes_of_verdict_are_named(tables):
    done = run(*tables, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["sources"] == 5
    assert found["changed_percent"] == pytest.approx(60)
    changes = {(each["stable"], each["candidate"]): each["sources"] for each in found["changes"]}
    assert changes == {("live", "attack"): 1, ("attack", "live"): 1, ("attack", "not scored"): 1}
    assert [each["path"] for each in found["changed"]] == ["a/print2.mp4", "a/live2.mp4", "a/replay.mp4"]
    assert found["largest_difference"] == pytest.approx(0.5)
    assert found["mean_difference"] == pytest.approx((0 + 0.4 + 0 + 0.5) / 4)
    assert found["latency"] == {"p50_s": [0.1, 0.15], "p95_s": [0.1, 0.15]}
    assert found["latency_rise_percent"] == pytest.approx(50)
    assert found["rates"] is None


def test_rates_are_those_of_the_standard(tables, labels):
    found = json.loads(run(*tables, "--labels", labels, "--json").output)["rates"]
    assert (found["bona_fide"], found["attacks"]) == (2, 2), "the replay has no score of the candidate"
    assert found["stable"] == {"apcer_max": 0.0, "bpcer": 0.0, "acer": 0.0}
    assert found["candidate"] == {"apcer_max": 0.5, "bpcer": 0.5, "acer": 0.5}
    assert (found["mended"], found["spoilt"]) == (0, 2)
    assert found["acer_rise_points"] == pytest.approx(50)
    swapped = json.loads(run(*reversed(tables), "--labels", labels, "--json").output)["rates"]
    assert (swapped["mended"], swapped["spoilt"]) == (2, 0)


@pytest.mark.parametrize(
    ("option", "passes", "fails"),
    [
        ("--most-changed", 60, 59.9),
        ("--most-difference", 0.51, 0.49),
        ("--most-acer-rise", 50, 49),
        ("--most-latency-rise", 51, 49),
    ],
)
def test_exit_status_past_a_limit(tables, labels, option, passes, fails):
    for limit, status in ((passes, 0), (fails, 1)):
        done = run(*tables, "--labels", labels, option, limit)
        assert done.exit_code == status, done.output
        assert ("beyond the limit" in done.output) == bool(status)


def test_a_limit_that_cant_be_checked_is_exceeded(tables):
    assert run(*tables, "--most-acer-rise", 100).exit_code == 1


def test_equal_tables_change_nothing(tables, labels):
    done = run(tables[0], tables[0], "--labels", labels, *("--most-changed", 0, "--most-difference", 0))
    assert done.exit_code == 0
    assert "another verdict: 0" in done.output


def test_a_source_of_one_table_only_is_a_change():
    pairs = paired({"x": Answered(0.9), "y": Answered(0.1)}, {"x": Answered(0.9), "z": Answered(0.2)})
    result = compare(pairs, 0.5)
    assert dict(result.changes) == {("attack", "absent"): 1, ("absent", "attack"): 1}
    assert result.latency is None
    assert result.beyond(Limits(latency_rise_percent=10)) != []


def test_rows_of_a_source_are_its_clips(tmp_path):
    path = tmp_path / "evaluated.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "name", "start", "liveness"), ("v.mp4", "v", 0, 0.2), ("v.mp4", "v", 30, 0.6)])
        writer.writerows([("", "only-a-name", 0, 0.5), ("w.mp4", "w", 0, "")])
    found = read_answers(path)
    assert found["v.mp4"].liveness == pytest.approx(0.4)
    assert found["only-a-name"].liveness == 0.5
    assert found["w.mp4"].liveness is None


def test_labels_in_the_table_are_used(tmp_path):
    path = tmp_path / "evaluated.csv"
    path.write_text("path,name,label,instrument,liveness\na.mp4,a,live,bona_fide,0.4\n,b,attack,print1,0.2\n")
    found = json.loads(run(path, path, "--json").output)["rates"]
    assert found["stable"] == {"apcer_max": 0.0, "bpcer": 1.0, "acer": 0.5}
    assert (found["bona_fide"], found["attacks"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "path,verdict\na,live\n"),
        ("t.csv", "path,liveness\na,1.5\n"),
        ("t.csv", "path,liveness\na,nan\n"),
        ("t.csv", "path,liveness\n"),
        ("t.csv", "path,liveness\n,0.5\n"),
        ("t.jsonl", "[1]\n"),
        ("t.jsonl", "{broken\n"),
        ("t.parquet", "no parquet"),
        ("t.txt", "path,liveness\na,0.5\n"),
    ],
)
def test_another_file_is_no_table(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TableError, match=name):
        read_answers(path)
    assert run(path, path).exit_code == 1


@pytest.mark.parametrize("content", ["path,kind\na,live\n", "path,label\na,1\n", "path,label\na,live\na,attack\n"])
def test_bad_labels_are_refused(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(TableError, match="labels.csv"):
        read_labels(path)


def test_labels_belong_to_the_longest_end_of_a_path(labels):
    known = read_labels(labels)
    assert label_of("/data/of/another/machine/live1.mp4", known).live
    assert label_of("live1.mp4/other.mp4", known) is None
    with pytest.raises(MetricsError):
        compare([Pair("elsewhere.mp4", Answered(0.1), Answered(0.1))], 0.5, known)


def test_percentile():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([], 0.5) is None


def test_wrong_usage(tables):
    assert run(tables[0]).exit_code == 2
    assert run(*tables, "--most-changed", "nan").exit_code == 2
    assert run(*tables, "--candidate-header", "x").exit_code == 2


def test_help_imports_neither_numpy_nor_grpc():
    code = "import sys; import eulernet_client.rollout.rollout_command; print({'numpy', 'grpc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
