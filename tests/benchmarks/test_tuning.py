# SPDX-License-Identifier: Apache-2.0
"""Changes of the configuration: applied to copies of the real repository, judged on hand-computed cases, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import pages
from benchmarks.tuning import tuning_analysis as analysis
from benchmarks.tuning.__main__ import main, run
from benchmarks.tuning.changes import Change, ChangeError, applied, candidates, change, pending, read, stages
from eulernet_loadtest.plan import Mode
from eulernet_serving.triton_config import read_config


def config(repository: Path, model: str) -> Any:
    return read_config(repository / model / "configs" / "cpu.pbtxt")


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("face_crop", "instance_group.count", "3"),
        ("eulernet_clip", "max_batch_size", "7"),
        ("eulernet_clip", "max_queue_delay_microseconds", "1500"),
        ("eulernet", "max_queue_delay_microseconds", "1500"),
        ("clip_crop", "preferred_batch_size", "2,4"),
        ("eulernet", "preferred_batch_size", "2,4"),
        ("eulernet", "parameters.threads", "17"),
        ("face_crop", "parameters.full_check", "true"),
    ],
)
def test_a_change_sets_its_field_and_nothing_else(repository: Path, model: str, field: str, value: str):
    before, after = config(repository, model), config(repository, model)
    assert change(after, field, value) == read(before, field) != value
    assert read(after, field) == value
    change(after, field, read(before, field))
    if before.HasField("dynamic_batching") or before.HasField("sequence_batching"):
        assert after == before, "the change is undone"


def test_the_delay_is_set_in_the_models_batcher(repository: Path):
    stream, clip = config(repository, "eulernet"), config(repository, "eulernet_clip")
    for each in (stream, clip):
        change(each, "max_queue_delay_microseconds", "700")
    assert stream.sequence_batching.oldest.max_queue_delay_microseconds == 700
    assert not stream.HasField("dynamic_batching")
    assert clip.dynamic_batching.max_queue_delay_microseconds == 700


def test_an_unknown_field_is_named(repository: Path):
    with pytest.raises(ChangeError, match="colour"):
        change(config(repository, "eulernet"), "colour", "1")


def test_a_copy_is_changed_and_the_repository_is_not(repository: Path, tmp_path: Path):
    files = {path: path.read_bytes() for path in repository.rglob("*.pbtxt")}
    wanted = Change(("face_crop", "clip_crop"), "instance_group.count", "3", "")
    before = applied(repository, tmp_path / "copy", wanted)
    assert set(before) == {"face_crop", "clip_crop"}
    assert all(read(config(tmp_path / "copy", model), wanted.field) == "3" for model in wanted.models)
    assert {path: path.read_bytes() for path in repository.rglob("*.pbtxt")} == files
    changed = {
        path.parents[1].name
        for path, content in files.items()
        if (tmp_path / "copy" / path.relative_to(repository)).read_bytes() != content
    }
    assert changed == {"face_crop", "clip_crop"}
    applied(repository, tmp_path / "copy", Change(("eulernet",), "parameters.threads", "5", ""))
    assert read(config(tmp_path / "copy", "face_crop"), wanted.field) != "3", (
        "each change starts from the original repository"
    )
    with pytest.raises(ChangeError, match="gone"):
        applied(repository, tmp_path / "copy", Change(("gone",), "max_batch_size", "1", ""))


def test_only_effective_changes_are_tried(repository: Path):
    threads = read(config(repository, "eulernet"), "parameters.threads")
    wanted = [
        Change(("eulernet",), "parameters.threads", threads, "has this value already"),
        Change(("eulernet", "gone"), "parameters.threads", "17", "one of the two models exists"),
        Change(("gone",), "max_batch_size", "1", "no such model"),
        Change(("eulernet",), "parameters.colour", "1", "no such parameter"),
    ]
    assert pending(repository, wanted) == [
        Change(("eulernet",), "parameters.threads", "17", "one of the two models exists")
    ]


def test_the_candidates_apply_to_the_shipped_repository(repository: Path):
    tried = pending(repository, candidates(bf16=True))
    assert {each.field for each in tried} >= {
        "parameters.threads",
        "instance_group.count",
        "max_batch_size",
        "max_queue_delay_microseconds",
        "parameters.full_check",
        "parameters.runtime",
    }
    through = stages(repository)
    for each in tried:
        assert set(each.models) <= {*through["clips"], *through["streams"]}, each.name
    assert not any("bf16" in each.value for each in candidates(bf16=False))


def record(mode: str, fps: tuple[float, float], p50_ms: tuple[float | None, float | None] = (10.0, 10.0)) -> Any:
    """One round; pairs are unchanged, changed."""
    servers = {}
    for name, number in (("unchanged", 0), ("changed", 1)):
        servers[name] = {
            "throughput_fps": fps[number],
            "p99_together_ms": 50.0,
            "p50_alone_ms": p50_ms[number],
            "p99_alone_ms": 20.0,
            "not_ok": 0,
            "other_cores": 0.0,
        }
    return {"mode": mode, "round": 1, **servers}


def test_ratios_and_noise():
    records = [
        record("clips", (100, 90)),
        record("clips", (100, 104), (10, None)),
        record("streams", (50, 50)),
        record("clips", (0, 10)),
    ]
    assert analysis.ratios(records, "clips", "throughput_fps") == [0.9, 1.04], "no ratio to 0"
    assert analysis.ratios(records[:2], "clips", "p50_alone_ms") == [1.0]
    assert analysis.noise(records, "clips", "throughput_fps") == pytest.approx(0.1)
    assert analysis.noise(records, "streams", "throughput_fps") == analysis.LEAST_NOISE


@pytest.mark.parametrize(
    ("values", "figure", "expected"),
    [
        ([1.2, 1.3], "throughput_fps", "better"),
        ([0.8, 0.7], "throughput_fps", "worse"),
        ([0.8, 0.7], "p99_together_ms", "better"),
        ([1.2, 1.3], "p50_alone_ms", "worse"),
        ([1.04, 1.05], "throughput_fps", "same"),  # inside the noise
        ([0.9, 1.5], "throughput_fps", "same"),  # the rounds disagree
    ],
)
def test_verdicts(values, figure, expected):
    assert analysis.verdict(values, figure, least=0.1) == expected


def test_effects_as_text():
    assert analysis.Effect(1.123, 1.1, 1.2, "better").percent == "+12 %"
    assert analysis.Effect(0.98, 0.9, 1.1, "same").percent == "(-2 %)"


def results(records: list[Any]) -> dict[str, Any]:
    """Results as in results.json: the control, and one change of a stage of the clip call."""
    wanted = {"models": ["eulernet_clip"], "field": "parameters.threads", "value": "1", "effect": "threads"}
    return {
        "created": "2026-01-01 00:00 UTC",
        "machine": {"processor": "P", "cores": 2, "system": "S", "python": "3.11"},
        "versions": {"triton": "2.51.0"},
        "weights": "w",
        "settings": {"width_px": 640, "height_px": 480, "rounds": 1, "alone": 1, "together": 16, "bf16": False},
        "stages": {"clips": ["clip_locate", "eulernet_clip"], "streams": ["eulernet"]},
        "points": [
            {"name": "nothing changed", "before": {}, "records": [record("clips", (100, 105))]},
            wanted
            | {"name": "eulernet_clip: parameters.threads 1", "before": {"eulernet_clip": "0"}, "records": records},
        ],
    }


@pytest.mark.parametrize(
    ("fps", "shown"),
    [
        ((100, 140), "`parameters.threads` of `eulernet_clip` from 0 to 1 (threads): **+40 %**"),
        ((100, 104), "| eulernet_clip | `parameters.threads` | 0 | 1 | (+4 %) |"),
        ((100, 60), "made it worse:\n\n- `parameters.threads` of `eulernet_clip` from 0 to 1"),
    ],
)
def test_the_page_shows_the_results(tmp_path: Path, fps: tuple[float, float], shown: str):
    pages.write_json(results([record("clips", fps)]), tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure", "--docs", str(tmp_path / "docs")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "docs" / "tuning.md").read_text()
    assert shown in page
    assert "| clips | 100 | 50.0 | 10.0 | 20.0 |" in page
    assert "**Not measured here.**" in page
    assert ("No tried change" in page.split("throughput of streams")[0]) == (fps[1] <= 105)


def test_each_finding_is_a_list_item(tmp_path: Path):
    given = results([record("clips", (100, 60))])
    given["points"].append(given["points"][1] | {"name": "x", "field": "max_batch_size", "value": "4"})
    pages.write_json(given, tmp_path / "results.json")
    assert CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"]).exit_code == 0
    page = (tmp_path / "tuning.md").read_text()
    worse = page.split("made it worse:\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split("`")[1] for line in worse] == ["parameters.threads", "max_batch_size"]


def test_the_page_shows_failures_and_unscored_requests(tmp_path: Path):
    lost = record("clips", (100, 140))
    lost["changed"]["not_ok"] = 3
    given = results([lost])
    given["points"].append(
        given["points"][1] | {"name": "x: f 1", "error": "tritonserver ended with status 1; the end of /a/log:\nE"}
    )
    del given["points"][2]["records"]
    pages.write_json(given, tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "tuning.md").read_text()
    assert "**3 requests got no score**" in page
    assert "`x: f 1` could not be measured: tritonserver ended with status 1.\n" in page
    assert "/a/log" not in page


@pytest.mark.slow
@pytest.mark.triton
def test_a_short_sweep_on_real_servers(tmp_path: Path):
    wanted = [
        Change(("face_crop",), "parameters.full_check", "true", "checked"),
        Change(("gone",), "max_batch_size", "1", ""),
    ]
    found = run(tmp_path, wanted, [Mode.STREAMS], 0.6, 1, bf16=False)
    control, changed = found["points"]
    assert control["name"] == "nothing changed"
    assert changed["before"] == {"face_crop": "false"}
    for point in (control, changed):
        (one,) = point["records"]
        assert one["mode"] == "streams"
        for server in ("changed", "unchanged"):
            assert one[server]["throughput_fps"] > 0
            assert one[server]["p50_alone_ms"] > 0
            assert one[server]["not_ok"] == 0
    assert read(config(tmp_path / "changed_repository", "face_crop"), "parameters.full_check") == "true"
    pages.write_json(found, tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"])
    assert done.exit_code == 0, done.output
    assert found["machine"]["processor"] in (tmp_path / "tuning.md").read_text()


def test_no_change_to_try_is_an_error(tmp_path: Path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--only", "no such change"])
    assert done.exit_code == 1
    assert "--only" in done.output
