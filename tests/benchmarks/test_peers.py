# SPDX-License-Identifier: Apache-2.0
"""The benchmark beside peers: its arithmetic on hand-computed cases, and a short run of real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import simplejpeg

from benchmarks.peers.bench import AsTimed, agree
from benchmarks.peers.bench_clips import parse_size, read_clips, write_clips
from benchmarks.peers.bench_loads import (
    CHUNKED_STREAMS,
    LONG_STREAMS,
    PIPELINED_STREAMS,
    Kind,
    LoadSettings,
    as_streams,
    offered_clips_per_s,
)
from benchmarks.peers.body import UnscorableError, pack, unpack
from benchmarks.peers.contest import WAYS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Idle, Load, Usage
from benchmarks.peers.report import spread_text, target_text
from benchmarks.peers.results import LARGE, SMALL, STREAMS, Ratio, Turn, medians, ratios
from benchmarks.peers.triton_statistics import PARTS, Counts, difference, stage_times
from eulernet_loadtest.metrics import Metrics, Outcome, Sample, Window
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.traffic import Source, Traffic
from eulernet_serving.cpu_precision import INT8, processor_runs
from tests.numbered_media import write_video

ROOT = Path(__file__).parents[2]
USAGE = Usage(cpu_s=0.5, rss_peak_bytes=300_000_000, pss_bytes=200_000_000, client_cores=0.3, other_cores=0.0)
JPEGS = (b"\xff\xd8one", b"\xff\xd8second", b"", b"\xff\xd84")


def loaded(frames_per_s: float, p99_ms: float = 100.0, errors: int = 0, p50_ms: float = 50.0) -> Load:
    return Load(frames_per_s, p50_ms, p99_ms, 40, 9.0, errors, USAGE)


def turn(way: str, number: int, frames_per_s: float, errors: int = 0, **more: Load) -> Turn:
    """`more`: additional loads by the name of their kind."""
    loads = {Kind[name]: load for name, load in more.items()}
    return Turn(way, number, loaded(frames_per_s, errors=errors), loads, Idle(ready_s=1.5, pss_bytes=450_000_000))


def found(turns: Sequence[Turn], frames: str = SMALL, vnni: bool = True) -> dict[tuple[str, ...], list[Ratio]]:
    """Ratios by the ways."""
    by_ways: dict[tuple[str, ...], list[Ratio]] = {}
    for ratio in ratios(turns, frames, vnni):
        by_ways.setdefault(ratio.ways, []).append(ratio)
    return by_ways


class TestTargets:
    TURNS = (
        *(turn("a", 0, 100), turn("a", 1, 100), turn("a", 2, 50)),
        *(turn("c", 0, 140), turn("c", 1, 160), turn("c", 2, 85)),
    )

    def test_ratios_are_of_one_round(self):
        (ratio,) = found(self.TURNS)["c", "a"]
        spread = ratio.spread
        assert (spread.median, spread.lowest, spread.highest) == (1.6, 1.4, 1.7)
        assert (ratio.bound, ratio.aim, ratio.passed) == (1.5, 1.8, True)
        assert spread_text(ratio) == "1.60 (1.40 to 1.70)"
        assert target_text(ratio) == "at least 1.50 (aim 1.80): passed"

    @pytest.mark.parametrize(
        ("frames", "vnni", "bound"),
        [(SMALL, True, 1.5), (SMALL, False, 1.3), (LARGE, True, 1.6), (LARGE, False, 1.6), ("800x600", True, None)],
    )
    def test_the_bound_depends_on_size_and_processor(self, frames: str, vnni: bool, bound: float | None):
        (ratio,) = found(self.TURNS, frames, vnni)["c", "a"]
        assert ratio.bound == bound
        assert (ratio.passed is None) == (bound is None)

    @pytest.mark.parametrize(
        ("way", "peer", "value", "passed"),
        [
            ("c", "a", 149.9, False),
            ("c", "a", 150.0, True),
            ("c", "c0", 199.9, False),
            ("c", "c0", 200.0, True),
            ("c", "f", 299.9, False),
            ("c", "f", 300.0, True),
            ("d", "c", 89.9, False),
            ("d", "c", 90.0, True),
        ],
    )
    def test_a_lower_bound_is_reached_at_its_value(self, way: str, peer: str, value: float, passed: bool):
        (ratio,) = found([turn(peer, 0, 100), turn(way, 0, value)])[way, peer]
        assert ratio.passed is passed

    def test_int8_of_the_peer_has_no_target(self):
        (ratio,) = found([turn("a8", 0, 100), turn("c", 0, 120)])["c", "a8"]
        assert (ratio.bound, ratio.passed, target_text(ratio)) == (None, None, "–")

    def test_streams_with_twice_as_many_at_once(self):
        turns = [turn("c", 0, 100, TWICE=loaded(120)), turn("d", 0, 95, TWICE=loaded(96))]
        once, twice = found(turns)["d", "c"]
        assert (once.spread.median, once.passed) == (0.95, True)
        assert (twice.spread.median, twice.passed) == (0.8, False)

    @pytest.mark.parametrize(("p99_ms", "passed"), [(120.0, True), (120.1, False)])
    def test_latency_at_random_times(self, p99_ms: float, passed: bool):
        turns = [turn("a", 0, 100, OFFERED=loaded(70, 200)), turn("d", 0, 100, OFFERED=loaded(70, p99_ms))]
        (ratio,) = found(turns)["d", "a"]
        assert ratio.passed is passed
        assert "at most 0.60" in target_text(ratio)

    def test_failed_requests_miss_a_target(self):
        turns = [turn("a", 0, 100, OFFERED=loaded(70, 200)), turn("d", 0, 100, OFFERED=loaded(70, 50, errors=2))]
        (ratio,) = found(turns)["d", "a"]
        assert (ratio.errors, ratio.passed) == (2, False)
        assert "2 errors" in target_text(ratio)

    @pytest.mark.parametrize(("p50_ms", "passed"), [(40.0, True), (40.1, False)])
    def test_one_clip_alone(self, p50_ms: float, passed: bool):
        turns = [turn("a", 0, 1, ALONE=loaded(70, p50_ms=40)), turn("c", 0, 2, ALONE=loaded(70, p50_ms=p50_ms))]
        assert found(turns)["c", "a"][1].passed is passed

    @pytest.mark.parametrize(
        ("idle", "passed"), [(Idle(2.0, 500_000_000), [True, True]), (Idle(2.1, 501_000_000), [False, False])]
    )
    def test_the_idle_server(self, idle: Idle, passed: list[bool]):
        alone = replace(turn("c", 0, 100), idle=idle)
        assert [ratio.passed for ratio in found([alone])[("c",)]] == passed
        assert ("c",) not in found([replace(alone, idle=None)])

    def test_rounds_without_both_ways_do_not_count(self):
        (ratio,) = found([turn("a", 0, 100), turn("c", 0, 400), turn("c", 1, 1)])["c", "a"]
        assert ratio.spread.median == ratio.spread.lowest == 4.0

    def test_no_ratio_without_the_peer(self):
        assert set(found([turn("b", 0, 1.0), turn("c", 0, 1.0)])) == {("c",)}

    def test_medians_of_rounds_and_the_sum_of_errors(self):
        turns = [turn("a", 0, 10, errors=1, ALONE=loaded(7)), turn("a", 1, 30, errors=2), turn("a", 2, 20)]
        figures = medians(turns, "a")
        assert figures["frames_per_s"] == 20
        assert figures["errors"] == 3
        assert figures["rss_peak_mb"] == 300
        assert (figures["ready_s"], figures["idle_pss_mb"]) == (1.5, 450)
        assert medians(turns, "a", Kind.ALONE)["frames_per_s"] == 7
        assert medians(turns, "a", Kind.TWICE) == medians([], "a") == {}


class TestLoads:
    SETTINGS = LoadSettings(seconds=4.0, warm_up_s=1.0, concurrency=8)

    def test_closed_loops(self):
        plans = {kind: self.SETTINGS.plan(kind) for kind in (Kind.AT_ONCE, Kind.TWICE, Kind.ALONE)}
        assert {kind: plan.concurrency for kind, plan in plans.items()} == {
            Kind.AT_ONCE: 8,
            Kind.TWICE: 16,
            Kind.ALONE: 1,
        }
        assert {(plan.duration_s, plan.mode, as_streams(plan).mode) for plan in plans.values()} == {
            (4.0, Mode.CLIPS, Mode.STREAMS)
        }

    def test_longer_streams(self):
        plan = self.SETTINGS.plan(Kind.TWICE)
        long, chunked = as_streams(plan, LONG_STREAMS), as_streams(plan, CHUNKED_STREAMS)
        assert [(each.concurrency, each.mode, each.stream_frames, each.chunk_frames) for each in (long, chunked)] == [
            (16, Mode.STREAMS, 48, 1),
            (16, Mode.STREAMS, 48, 4),
        ]

    def test_streams_with_several_frames_in_flight(self):
        closed = as_streams(self.SETTINGS.plan(Kind.TWICE), PIPELINED_STREAMS)
        assert (closed.concurrency, closed.stream_frames, closed.frames_in_flight) == (16, 48, 4)
        offered = as_streams(self.SETTINGS.plan(Kind.OFFERED, 5.0), PIPELINED_STREAMS)
        assert (offered.rate_hz, offered.stream_frames, offered.frames_in_flight) == (5.0, 4, 4)

    def test_every_kind_of_stream_is_a_way(self):
        assert {key for kinds in STREAMS.values() for key in kinds} <= {way.key for way in WAYS}

    def test_clips_at_random_times(self):
        rate_hz = offered_clips_per_s(160.0)  # 40 clips/s
        plan = self.SETTINGS.plan(Kind.OFFERED, rate_hz)
        assert plan.rate_hz == rate_hz == pytest.approx(28)
        assert (plan.arrivals, plan.duration_s) == (Arrivals.POISSON, 8.0)
        streams = as_streams(plan)
        assert (streams.rate_hz, streams.stream_frames) == (rate_hz, 4)
        assert streams.late_after_s is not None
        assert streams.late_after_s > 600


def test_latency_of_an_open_loop_begins_when_a_clip_is_due():
    plan = Plan(Mode.CLIPS, rate_hz=5)
    metrics = Metrics(plan, Window(10.0, 12.0))
    metrics.record(Sample(10.0, 10.4, 10.5, Outcome.OK))
    assert Load.of(metrics, USAGE).p50_ms == pytest.approx(500, rel=1e-3)


def test_a_load_covers_the_window_only():
    metrics = Metrics(Plan(Mode.CLIPS, 2), Window(10.0, 12.0))
    for begun_s, done_s in ((9.5, 9.9), (9.9, 10.1), (10.0, 10.1), (10.5, 10.8), (11.9, 12.1)):
        metrics.record(Sample(begun_s, begun_s, done_s, Outcome.OK))
    metrics.record(Sample(11.0, 11.0, 11.01, Outcome.FAILED, "ServerFailedError"))
    load = Load.of(metrics, USAGE)
    # Three clips were done within it: 12 frames in 2 s, with 0.5 s of processor time.
    assert load.frames_per_s == 6
    assert load.cpu_ms_per_frame == pytest.approx(500 / 12)
    # Three were sent within it: 100, 300 and 200 ms.
    assert load.clips == 3
    assert load.p50_ms == pytest.approx(200, rel=1e-3)
    assert load.p99_ms == pytest.approx(300, rel=1e-3)
    assert load.errors == 1


def test_a_load_without_a_score_is_an_error():
    with pytest.raises(BenchError, match="2 s"):
        Load.of(Metrics(Plan(Mode.CLIPS, 2), Window(10.0, 12.0)), USAGE)


class TestAgreement:
    REFERENCE = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]])

    def test_the_largest_difference(self):
        scores = self.REFERENCE.copy()
        scores[1, 2] -= 0.0004
        assert agree("(a)", scores, self.REFERENCE, 0.001) == pytest.approx(0.0004)

    @pytest.mark.parametrize("wrong", [0.102, np.nan])
    def test_a_difference_above_the_tolerance_is_an_error(self, wrong: float):
        scores = self.REFERENCE.copy()
        scores[1, 2] = wrong
        with pytest.raises(BenchError, match=r"\(a\): LIVENESS of clip 1, frame 2 .* 0\.1000"):
            agree("(a)", scores, self.REFERENCE, 0.001)

    def test_another_number_of_clips_is_an_error(self):
        with pytest.raises(BenchError, match=r"\(2, 4\).*\(3, 4\)"):
            agree("(a)", self.REFERENCE[:2], self.REFERENCE, 0.001)

    def test_as_timed_compares_last_frames(self):
        scores = self.REFERENCE + np.array([[0, 0, 0, 0.01], [0.5, 0, 0, 0.02], [0, 0, 0, -0.4]])
        as_timed = AsTimed.of(scores, self.REFERENCE)
        assert (as_timed.median, as_timed.largest) == (pytest.approx(0.02), pytest.approx(0.4))


def test_stage_times_are_means_between_two_readings():
    before = {"eulernet_clip": Counts(10, 5, dict.fromkeys(PARTS, 1_000_000), {2: 5})}
    times = {"queue": 9_000_000, "compute_input": 2_000_000, "compute_infer": 81_000_000, "compute_output": 1_000_000}
    after = {
        "eulernet_clip": Counts(18, 8, times, {2: 6, 3: 2}),
        "antispoof_clip": Counts(18, 18, dict.fromkeys(PARTS, 5_000_000)),
        "face_crop": Counts(),
    }
    (stage,) = stage_times(difference(before, after))
    assert (stage.model, stage.requests, stage.batches) == ("eulernet_clip", 8, {2: 1, 3: 2})
    assert stage.mean_batch == pytest.approx(8 / 3)
    assert (stage.queue_ms, stage.compute_infer_ms) == (1.0, 10.0)
    assert stage.compute_output_ms == 0.0


@pytest.mark.parametrize("exact", [False, True])
def test_a_body_roundtrip(exact: bool):
    clip = unpack(pack(JPEGS, exact))
    assert (clip.jpegs, clip.exact) == (JPEGS, exact)


@pytest.mark.parametrize("body", [b"", b"\0" * 19, pack(JPEGS)[:-1], pack(JPEGS) + b"!"])
def test_a_body_of_another_length_is_refused(body: bytes):
    with pytest.raises(UnscorableError, match=f"{len(body)} bytes"):
        unpack(body)


@pytest.mark.parametrize("text", ["640", "x480", "640x", "640x480x3", "-640x480", "32x480"])
def test_invalid_frame_sizes_are_refused(text: str):
    with pytest.raises(BenchError, match="--frames"):
        parse_size(text)


def test_clips_are_read_in_the_order_written(tmp_path: Path):
    traffic = Traffic(tuple(Source(name, tuple(f"{name}{t}".encode() for t in range(4))) for name in "cab"))
    write_clips(Traffic((Source("older", JPEGS),) * 4), tmp_path / "clips")
    write_clips(traffic, tmp_path / "clips")
    assert tuple(read_clips(tmp_path / "clips")) == traffic.clips()


@pytest.fixture(scope="module")
def videos(tmp_path_factory, moving_faces) -> Path:
    """Three short videos of a photographed face, named like the demo videos."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("bona_fide", "print", "replay")):
        pictures = [simplejpeg.decode_jpeg(jpeg) for jpeg in moving_faces(12, seed)]
        write_video(folder / f"{name}.mp4", len(pictures), picture=pictures.__getitem__)
    return folder


def command(videos: Path, out: Path, *options: str) -> list[str]:
    short = ("--frames", "640x480", "--rounds", "1", "--concurrency", "2", "--warm-up-s", "0.3", "--no-tune")
    return [sys.executable, "-m", "benchmarks.peers", "--videos", str(videos), "--out", str(out), *short, *options]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.triton
@pytest.mark.skipif(find_spec("fastapi") is None, reason="FastAPI is not installed: pip install -e '.[bench]'")
def test_a_short_run_of_real_servers(tmp_path: Path):
    # With the demo videos, which the run renders: the scores of a photographed face are near 0.5 and move with the box.
    done = subprocess.run(
        [
            *command(tmp_path / "clips", tmp_path / "out", "--only", "a,c,d", "--seconds", "3", "--clips", "1"),
            *("--docs", str(tmp_path / "docs")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (section,) = results["sections"]
    assert section["frames"] == "640x480"
    assert section["clips"] == len(section["liveness"]) == 3
    assert set(section["differences"]) == {"a", "c", "d"}
    # The service runs in int8 where the processor can, FastAPI in fp32.
    served = 0.03 if processor_runs(INT8) else results["options"]["tolerance"]
    assert section["differences"]["a"] <= results["options"]["tolerance"] == 0.001
    assert section["differences"]["c"] == pytest.approx(section["differences"]["d"], abs=0.001)
    assert section["differences"]["c"] <= served
    for key in ("a", "c", "d"):
        figures = section["medians"][key]
        assert figures["frames_per_s"] > 0
        assert figures["p99_ms"] >= figures["p50_ms"] > 0
        assert 0 < figures["cpu_ms_per_frame"] < 2000 * (os.cpu_count() or 1)
        assert figures["rss_peak_mb"] >= figures["pss_mb"] > 50
        assert figures["errors"] == 0
        assert figures["ready_s"] > 0.1
        assert figures["idle_pss_mb"] > 50
    assert section["more"]["a"].keys() == {"one alone", "offered"}
    assert section["more"]["d"].keys() == {"twice as many at once", "offered"}
    for more in section["more"].values():
        for figures in more.values():
            assert figures["p99_ms"] >= figures["p50_ms"] > 0
            assert figures["errors"] == 0
    ways = [tuple(ratio["ways"]) for ratio in section["ratios"]]
    assert Counter(ways) == {("c", "a"): 3, ("d", "a"): 1, ("d", "c"): 2, ("c",): 2}
    stages = {stage["model"]: stage for stage in section["stages"]["c"]}
    assert {"clip_crop", "eulernet_clip"} <= set(stages)
    assert stages["eulernet_clip"]["compute_infer_ms"] > 0
    assert results["machine"]["cores"] > 0
    assert results["versions"]["onnxruntime"]
    page = (tmp_path / "out" / "peers.md").read_text()
    assert page.strip() in done.stdout
    assert (tmp_path / "docs" / "peers.md").read_text() == page
    assert "| (a) FastAPI, OpenCV, ONNX Runtime |" in page
    assert "| frames/s, clip call to FastAPI, (c)/(a) |" in page


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process(number: signal.Signals, videos: Path, tmp_path: Path):
    process = subprocess.Popen(
        command(videos, tmp_path / "out", "--only", "e", "--clips", "1"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "640x480" in process.stderr.readline()
        (server,) = waited_for(lambda: psutil.Process(process.pid).children(recursive=False))
        process.send_signal(number)
        assert process.wait(120) != 0
    # The kernel ends a server that was just being started with the process that started it; init reaps it later.
    assert waited_for(lambda: has_ended(server), 10.0)
    assert not (tmp_path / "out" / "results.json").exists()


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def waited_for(find, timeout_s: float = 120.0):
    deadline_s = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    return found


def test_a_missing_package_is_named_with_the_remedy():
    way = replace(WAYS[0], packages=("numpy", "no_such_package"))
    assert way.missing().startswith("no_such_package ")
    assert "pip install" in way.missing()
    assert {way.key: way.missing() for way in WAYS}["c"] == ""


def test_an_unknown_way_is_named(videos: Path, tmp_path: Path):
    done = subprocess.run(
        command(videos, tmp_path, "--only", "a,z"), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "--only a,z: 'z'" in done.stderr
