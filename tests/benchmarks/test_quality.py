# SPDX-License-Identifier: Apache-2.0
"""The benchmark of picture quality: rates, rule and page on hand-made records; degraded simulated videos for real."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import pages
from benchmarks.quality import degraded_scores as measure
from benchmarks.quality import quality_analysis as analysis
from benchmarks.quality.__main__ import main
from benchmarks.quality.degradations import RECORDED, SIDES_PX, Level, degrade, levels, scaled_square
from eulernet.datasets.oulu import Name
from eulernet_core.weights_label import LIVE_THRESHOLD

VIDEOS = ["1_3_36_1", "2_3_36_2", "3_3_37_1", "4_3_37_4"]
GOOD, BAD = 0.9, 0.1
RATES = measure.FRAME_RATES


def record(level: Level, liveness: float, side_px: int = 384, detail: float = 0.5) -> dict[str, Any]:
    """One clip at one level, as in results.json."""
    return {
        "level": level.name,
        "side_px": level.side_px or side_px,
        "liveness": liveness,
        "detail": [detail, detail + 0.1],
        "found": True,
        "kbit_s": None if level.crf is None else 100.0,
    }


def records() -> dict[str, list[dict[str, Any]]]:
    """Right verdicts, but attacks pass below 128 px, and, with a low detail, from crf 33 on and with every blur."""
    found: dict[str, list[dict[str, Any]]] = {}
    for video in VIDEOS:
        for level in levels():
            small = level.side_px is not None and level.side_px < 128
            poor = level.blur_px > 0 or (level.crf or 0) >= 33
            live = video.endswith("_1")
            liveness = GOOD if live or small or poor else BAD
            found.setdefault(video, []).append(record(level, liveness, detail=0.2 if poor else 0.5))
    return found


@pytest.mark.parametrize(
    ("wrong", "count", "low", "high"),
    [(0, 32, 0.0, 0.1072), (16, 32, 0.3364, 0.6636), (32, 32, 0.8928, 1.0)],
)
def test_intervals_are_wilsons(wrong, count, low, high):
    rate = analysis.Rate.of(wrong / count, count)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


def test_levels_have_different_names():
    names = [level.name for level in levels()]
    assert names[0] == RECORDED
    assert len(set(names)) == len(names)


def test_the_thresholds_follow_the_rule():
    view = analysis.view(records())
    assert view.min_face_px == 128
    assert view.min_detail == 0.5, "every bin above is right; at most this flags none of the recorded clips"
    by_level = {each.level: each for each in view.flagged}
    assert by_level[RECORDED] == analysis.Flagged(RECORDED, 0.0, 0.0, 0, 0)
    assert by_level[Level(96, 18).name].small == 1.0
    crf = by_level[Level(crf=38).name]
    assert (crf.degraded, crf.wrong, crf.wrong_flagged) == (1.0, 2, 2)


def test_a_larger_side_that_fails_ends_the_search():
    given = records()
    for clips in given.values():
        for each in clips:
            if each["level"] == Level(160, 18).name:
                each["liveness"] = GOOD
    assert analysis.view(given).min_face_px == 192


def test_few_recorded_clips_are_flagged_whatever_the_error():
    recorded = analysis.row(records(), RECORDED)
    bad = [analysis.Bin(0.6, 0.55, 1.0, 0.0)]
    values = [0.2, *np.linspace(0.4, 0.9, 99)]
    threshold = analysis.least_detail(bad, recorded, values)
    assert np.mean(np.array(values) < threshold) <= analysis.MOST_FLAGGED


def test_equal_error_rate_and_rates_of_a_level():
    found = analysis.row(records(), Level(crf=43).name)
    assert (found.apcer.value, found.bpcer.value, found.eer) == (1.0, 0.0, 0.5)
    assert found.kbit_s == 100.0
    assert analysis.row(records(), RECORDED).kbit_s is None


def test_the_plan_is_balanced():
    names = measure.plan(2)
    assert len(set(names)) == len(names) == 20 * 14
    for user in {name.user for name in names}:
        own = [name for name in names if name.user == user]
        assert {name.phone for name in own if name.file == 1} == set(range(1, 7))
        assert sorted(name.file for name in own) == sorted(measure.FILES * 2)
    assert {name.user for name in names[:20]} == {name.user for name in names}
    assert len({name.user for name in measure.plan(1, users=1)}) == 1


def test_the_plan_of_the_frame_rates_is_balanced():
    names = measure.plan_rates()
    assert len(set(names)) == len(names) == 20 * 6 * 3 * 2
    assert Counter(name.file for name in names) == {1: 360, **dict.fromkeys(range(2, 6), 90)}
    assert {(name.user, name.phone, name.session) for name in names if name.file == 1} == {
        (name.user, name.phone, name.session) for name in names if name.file != 1
    }


def test_lines_survive_an_interruption(tmp_path):
    path = tmp_path / "scores.jsonl"
    clip = measure.Measured(RECORDED, 384, 0.5, (0.4, 0.4, 0.4, 0.4), True, None)
    measure.append_line(path, "a", [clip])
    with path.open("a") as file:
        file.write('{"video": "b", "lev')
    assert list(measure.read_lines(path)) == ["a"]
    measure.append_line(path, "c", [clip])
    found = measure.read_lines(path)
    assert list(found) == ["a", "c"]
    assert found["c"][0]["side_px"] == 384


def test_a_box_scales_with_the_picture_and_stays_inside():
    box = np.array([10, 40, 310, 340], np.float32)
    assert scaled_square(box, (384, 512), (192, 256)).tolist() == [5, 20, 155, 170]
    edge = scaled_square(np.array([84, 212, 384, 512], np.float32), (384, 512), (66, 88))
    assert edge[2] <= 66
    assert edge[3] <= 88
    assert edge[2] - edge[0] == edge[3] - edge[1]


def test_degraded_frames_have_the_size_and_the_loss_of_their_level(portrait):
    frames = [portrait] * 4
    box = np.array([100, 20, 356, 276], np.float32)
    small = degrade(frames, box, Level(64, 18), 30)
    assert [frame.shape for frame in small.frames] == [(128, 128, 3)] * 4
    assert small.box[2] - small.box[0] == 64
    fine, coarse = (degrade(frames, box, Level(crf=crf), 30) for crf in (18, 43))
    assert fine.frames[0].shape == portrait.shape
    assert fine.kbit_s > 3 * coarse.kbit_s

    def loss(other: Any) -> float:
        return float(np.abs(other.frames[1].astype(float) - portrait).mean())

    assert 0 < loss(fine) < loss(coarse) / 2, "colours survive the conversion"
    assert degrade(frames, box, Level(), 30).frames is frames


def test_a_small_face_is_not_enlarged(portrait):
    kept = degrade([portrait], np.array([0, 0, 100, 100], np.float32), Level(SIDES_PX[0], 18), 30)
    assert kept.frames[0].shape == portrait.shape
    assert kept.box[2] - kept.box[0] == 100


def test_a_simulated_attack_is_scored_and_loses_detail(root, face_models, tmp_path):
    graph = root / "model_repository" / "eulernet_clip" / "1" / "model.onnx"
    scorer = measure.Scorer(graph, face_models)
    path = measure.render(tmp_path / "videos", Name(2, 3, 37, 2))
    recorded, compressed = measure.measure_video(scorer, path, (Level(), Level(crf=43)))
    assert recorded.liveness < LIVE_THRESHOLD
    assert recorded.found
    assert recorded.kbit_s is None
    assert compressed.kbit_s is not None
    assert recorded.side_px == compressed.side_px > 200
    assert max(compressed.detail) < min(recorded.detail)


def test_frame_rates_are_of_one_recording(root, face_models, tmp_path):
    """A clip spans the same time at each rate, so that its last frame is one of the first recording's last frames."""
    scorer = measure.Scorer(root / "model_repository" / "eulernet_clip" / "1" / "model.onnx", face_models)
    path = measure.render(tmp_path / "fast_videos", Name(2, 3, 37, 1), measure.FAST)
    found = measure.measure_rates(scorer, path)
    assert [each.level for each in found] == ["60 frames/s", "30 frames/s", "20 frames/s", "15 frames/s"]
    assert len({each.side_px for each in found}) == 1
    assert all(each.found and len(each.detail) == 4 for each in found)
    assert json.loads((tmp_path / "fast_videos" / "simulated.json").read_text())["fps"] == 60


def results() -> dict[str, Any]:
    """As in results.json."""
    demo = [
        {"clip": "print", "change": "192x256, crf 23", **record(Level(), GOOD, 100, 0.7)},
        {"clip": "print", "change": "none", **record(Level(), BAD, detail=0.7)},
    ]
    machine = {"processor": "P", "cores": 2, "system": "S", "python": "3.11"}
    rates = {
        video: [
            record(Level(), GOOD if video.endswith("_1") else BAD) | {"level": measure.rate_name(rate)}
            for rate in RATES
        ]
        for video in VIDEOS
    }
    return {
        "created": "2026-01-01",
        "machine": machine,
        "weights": "w",
        "videos": records(),
        "rates": rates,
        "demo": demo,
    }


def test_the_page_shows_thresholds_rates_and_flags(tmp_path: Path):
    pages.write_json(results(), tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure", "--docs", str(tmp_path / "docs")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "docs" / "quality.md").read_text()
    assert (tmp_path / "docs" / "quality_errors.svg").stat().st_size > 1000
    assert "| 128 px |" in page
    assert "| 96 px, crf 18 | 96 | 100 | 100 % (34 to 100 %) | 0 % (0 to 66 %) | 50 % | 0 % |" in page
    assert "| 15 frames/s | 4 | 0 % (0 to 66 %) | 0 % (0 to 66 %) | 0.0 % |" in page
    assert "| print | 192x256, crf 23 | live | 0.9 | 0.7 | yes | no |" in page
    for heading in [line for line in page.splitlines() if line.startswith("## ")]:
        body = page.split(heading)[1].split("\n## ")[0]
        assert "APCER |" not in body or "simulated" in heading + body, heading


def test_too_few_videos_are_an_error(tmp_path: Path):
    given = results()
    given["videos"] = {VIDEOS[0]: given["videos"][VIDEOS[0]]}
    pages.write_json(given, tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"])
    assert done.exit_code == 1
    assert "--minutes" in done.output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_measures_one_person(face_models: Path, tmp_path: Path):
    arguments = ["--out", str(tmp_path), "--quick", "--face-models", str(face_models)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "results.json").read_text())
    assert len(found["videos"]) == 7
    assert [case["clip"] for case in found["demo"]] == ["bona_fide", "print", "print", "replay", "replay"]
    assert CliRunner().invoke(main, [*arguments, "--minutes", "0"]).exit_code == 0, "nothing is left to measure"
