# SPDX-License-Identifier: Apache-2.0
"""The scaling benchmark: knee, fitted lines and texts on hand-computed cases, and a short run on the real server."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import simplejpeg
from click.testing import CliRunner

from benchmarks import pages
from benchmarks.moving_pictures import traffic
from benchmarks.rig import Load, Stage, combined
from benchmarks.scaling import scaling_analysis as analysis
from benchmarks.scaling import scaling_loads as measure
from benchmarks.scaling.__main__ import main, run

SECONDS = 0.6
OPEN = (1, 20)


def load(mode: str = "clips", concurrency: int = 1, fps: float = 100.0, **other: Any) -> dict[str, Any]:
    """A point as results.json holds it."""
    stage = {"busy": 0.5, "batch": 1.0, "instances": 1}
    return {
        "mode": mode,
        "concurrency": concurrency,
        "throughput_fps": fps,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "requests": 100,
        "not_ok": 0,
        "server_cores": 1.0,
        "client_cores": 0.2,
        "other_cores": 0.0,
        "stages": {"eulernet": stage},
    } | other


@pytest.mark.parametrize(
    ("points", "expected", "why"),
    [
        ([(1, 50.0), (2, 90.0), (4, 96.0), (8, 100.0)], 4, "90 is below 95 % of 100, 96 is not"),
        ([(1, 100.0), (2, 100.0), (4, 100.0)], 1, "flat"),
        ([(8, 70.0), (4, 100.0), (2, 60.0)], 4, "any order; a fall after the peak is ignored"),
        ([(1, 10.0), (2, 20.0)], 2, "still rising at the end"),
        ([(1, 94.9), (2, 95.0), (4, 100.0)], 2, "exactly 95 % counts"),
    ],
)
def test_knee_is_the_smallest_concurrency_near_the_best(points, expected, why):
    assert analysis.knee(points) == expected, why


@pytest.mark.parametrize("points", [[], [(1, 0.0), (2, 0.0)]])
def test_no_knee_without_scores(points):
    with pytest.raises(ValueError, match=f"{len(points)} points"):
        analysis.knee(points)


def test_least_squares_line():
    straight = analysis.line([(0, 1.0), (1, 3.0), (2, 5.0)])
    assert (straight.slope, straight.intercept, straight.r2) == pytest.approx((2, 1, 1))
    assert straight.at(10) == pytest.approx(21)
    tent = analysis.line([(0, 0.0), (1, 1.0), (2, 0.0)])  # least squares is the mean
    assert (tent.slope, tent.intercept, tent.r2) == pytest.approx((0, 1 / 3, 0))
    level = analysis.line([(1, 5.0), (2, 5.0)])
    assert (level.slope, level.intercept, level.r2) == pytest.approx((0, 5, 1))
    with pytest.raises(ValueError, match="1 different x"):
        analysis.line([(1, 5.0), (1, 6.0)])


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"server_cores": 1.6, "client_cores": 0.3}, "the processor is full: of 2 cores the server uses 1.60"),
        ({"stages": {"face_crop": {"busy": 0.95, "batch": 3.0, "instances": 2}}}, "a stage is full"),
        ({}, "neither the processor nor any stage is full"),
    ],
)
def test_the_bottleneck_follows_from_the_numbers(change, start):
    text = analysis.limit(load(**change), cores=2)
    assert text.startswith(start)
    busy = (
        "`face_crop` (2 instances), computing 95 %" if "stages" in change else "`eulernet` (1 instance), computing 50 %"
    )
    assert busy in text


def test_time_of_a_frame():
    """10 ms at 1 megapixel and 20 ms at 3: 5 ms for each megapixel and 5 ms more, so 15 of 20 ms at 3 megapixels."""
    points = [
        load(fps=100.0, width_px=1000, height_px=1000, bytes_per_frame=1e5),
        load(fps=50.0, width_px=2000, height_px=1500, bytes_per_frame=3e5),
    ]
    (view,) = analysis.frame_size_view(points)
    assert (view["line"].slope, view["line"].intercept) == pytest.approx((5, 5))
    assert view["pixels_share"] == pytest.approx(0.75)
    assert view["largest"]["width_px"] == 2000


def opened(sequences: int, pss_bytes: float, seen: int | None = None) -> dict[str, Any]:
    number = sequences if seen is None else seen
    return load(
        "streams",
        sequences,
        sequences=sequences,
        pss_bytes=pss_bytes,
        open={"eulernet": number},
        opening_s=sequences / 3,
    )


SHARED = {"rate_hz": 50.0, "state_bytes": 150, "idle_limit_s": 30.0}


def test_memory_of_a_stream():
    rows = [opened(1, 1_000_200.0), opened(10, 1_002_000.0), opened(100, 1_020_000.0)]
    view = analysis.open_sequences_view(SHARED | {"points": rows})
    assert view is not None
    assert view["line"].slope == pytest.approx(200)
    assert view["beside_bytes"] == pytest.approx(50)
    assert view["dependable"]
    assert [row["sequences"] for row in view["given_up"]] == [100], "opening 100 took 33 s, over 30"
    assert view["metric_agrees"]
    lost = analysis.open_sequences_view(SHARED | {"points": [*rows[:2], opened(100, 900_000.0, seen=99)]})
    assert lost is not None
    assert not lost["dependable"], "falling memory gives no cost of a stream"
    assert not lost["metric_agrees"]


def test_rounds_are_combined_by_medians():
    def round_(fps: float, p99_ms: float | None, busy: float) -> Load:
        return Load("clips", 4, fps, 5.0, p99_ms, 10, 1, 1.0, 0.1, 0.0, {"eulernet": Stage(busy, 2.0, 1)})

    both = combined([round_(90, 30.0, 0.4), round_(110, None, 0.6)])
    assert (both.throughput_fps, both.p99_ms, both.requests, both.not_ok) == (100, 30, 20, 2)
    assert both.stages["eulernet"].busy == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,230"), (12.34, "12.3"), (5.0, "5.00"), (0.012345, "0.0123"), (999.9, "1,000"), (0, "0"), (None, "–")],
)
def test_numbers_have_three_significant_digits(value, text):
    assert pages.significant(value) == text


def test_pictures_have_their_size_and_move():
    first, second = traffic(320, 240, 2).sources[0].jpegs
    assert simplejpeg.decode_jpeg(first).shape == (240, 320, 3)
    assert not np.array_equal(simplejpeg.decode_jpeg(first), simplejpeg.decode_jpeg(second))
    assert traffic(320, 240, 2).sources[0].jpegs == (first, second), "one seed gives one traffic"


def test_state_size_matches_the_runtime(repository: Path):
    session = onnxruntime.InferenceSession(
        str(repository / "eulernet" / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    sizes = {"tensor(float)": 4, "tensor(int32)": 4, "tensor(uint8)": 1}
    states = [each for each in session.get_inputs() if each.name.endswith("_in")]
    assert states
    assert measure.state_bytes(repository) == sum(math.prod(s.shape[1:]) * sizes[s.type] for s in states)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of a run with two points for each part, each shorter than a second."""
    out = tmp_path_factory.mktemp("scaling")
    parts = ["concurrency", "frame-size", "open-sequences"]
    pages.write_json(run(out, parts, SECONDS, 1, (1, 4), ((320, 240), (640, 480)), OPEN), out / "results.json")
    return out


@pytest.mark.slow
@pytest.mark.triton
def test_a_short_run_measures_all_parts(measured: Path):
    results = json.loads((measured / "results.json").read_text())
    assert {(p["mode"], p["concurrency"]) for p in results["concurrency"]} == {
        (mode, n) for mode in ("clips", "streams") for n in (1, 4)
    }
    assert [p["width_px"] for p in results["frame_size"]] == [320, 320, 640, 640]
    for point in results["concurrency"] + results["frame_size"]:
        if point["mode"] == "streams" or point["concurrency"] == 1:  # on a busy machine more clips may take longer
            assert point["throughput_fps"] > 0
            assert point["p99_ms"] >= point["p50_ms"] > 0
        assert point["not_ok"] == 0, "every picture has a face"
        assert point["server_cores"] > 0
        stages = {"eulernet_clip" if point["mode"] == "clips" else "eulernet"}
        assert stages <= set(point["stages"]), "the stages belong to the call"
        assert all(0 < stage["busy"] <= 1 and stage["batch"] >= 1 for stage in point["stages"].values())
    for point, number in zip(results["open_sequences"]["points"], OPEN, strict=True):
        assert set(point["open"].values()) == {number}, "the metric counts the open streams"
        assert point["pss_bytes"] > 50e6
        assert 0 < point["opening_s"] < results["open_sequences"]["idle_limit_s"] == 31
        assert point["p99_ms"] > 0
    assert results["machine"]["cores"] >= 1
    assert results["versions"]["triton"].startswith("2.")


@pytest.mark.slow
@pytest.mark.triton
def test_the_page_comes_from_the_results(measured: Path, tmp_path: Path):
    done = CliRunner().invoke(main, ["--out", str(measured), "--docs", str(tmp_path), "--no-measure"])
    assert done.exit_code == 0, done.output
    results = json.loads((measured / "results.json").read_text())
    page = (tmp_path / "scaling.md").read_text()
    for mode, title in (("clips", "Clip calls"), ("streams", "Streams")):
        points = [(p["concurrency"], p["throughput_fps"]) for p in results["concurrency"] if p["mode"] == mode]
        assert f"### {title}: knee at {analysis.knee(points)}" in page
    assert results["machine"]["processor"] in page
    for name in ("concurrency", "frame_size", "open_sequences"):
        assert f"(scaling_{name}.svg)" in page
        assert (tmp_path / f"scaling_{name}.svg").read_text().startswith("<?xml")
        assert (measured / f"scaling_{name}.png").stat().st_size > 1000
        with (measured / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) in (2, 4)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.svg")) < 200_000


def test_the_page_leaves_out_parts_without_measurement(tmp_path: Path):
    results = {
        "created": "2026-01-01 00:00 UTC",
        "machine": {"processor": "P", "cores": 2, "system": "S", "python": "3.11"},
        "versions": {"triton": "2.51.0"},
        "weights": "w",
        "settings": {"width_px": 640, "height_px": 480, "bytes_per_frame": 6e4, "rounds": 1, "seconds": 1.0},
        "concurrency": [load(concurrency=1, fps=50.0), load(concurrency=2, fps=100.0, p50_ms=80.0)],
    }
    pages.write_json(results, tmp_path / "results.json")
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "scaling.md").read_text()
    assert "knee at 2" in page
    assert "## Frame size" not in page
    assert "## Open streams" not in page
    assert "not idle" not in page


def test_an_unknown_part_and_missing_results_are_named(tmp_path: Path):
    wrong = CliRunner().invoke(main, ["--out", str(tmp_path), "--only", "colour"])
    assert wrong.exit_code == 2
    assert "colour" in wrong.output
    assert "frame-size" in wrong.output
    missing = CliRunner().invoke(main, ["--out", str(tmp_path), "--no-measure"])
    assert missing.exit_code == 1
    assert "results.json" in missing.output
    assert "--no-measure" in missing.output
