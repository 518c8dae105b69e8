# SPDX-License-Identifier: Apache-2.0
"""Metrics of a load test: window, outcomes, percentiles with and without the correction. Plans and the search."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from eulernet_loadtest.metrics import Latency, Metrics, Outcome, Sample, Window, backfilled, frame_latency
from eulernet_loadtest.plan import Arrivals, Mode, Plan
from eulernet_loadtest.results import OURS, summarised
from eulernet_loadtest.search import largest_that_holds

WINDOW = Window(10.0, 20.0)
PACED = Plan(concurrency=1, fps=10.0)
HDR = 0.001  # three digits


def metrics(plan: Plan = PACED, *samples: Sample) -> Metrics:
    taken = Metrics(plan, WINDOW)
    for sample in samples:
        taken.record(sample)
    return taken


def ok(intended_s: float, latency_s: float, held_s: float = 0.0) -> Sample:
    """Answered `latency_s` after it was due; sent `held_s` after it was due."""
    return Sample(intended_s, intended_s + held_s, intended_s + latency_s, Outcome.OK)


@pytest.mark.parametrize(
    ("outcome", "throughput_fps", "answered_fps", "corrected", "uncorrected"),
    [
        (Outcome.OK, 0.1, 0.1, True, True),
        (Outcome.LATE, 0.0, 0.1, True, True),
        (Outcome.UNSCORED, 0.0, 0.1, True, True),
        (Outcome.REJECTED, 0.0, 0.0, False, False),
        (Outcome.FAILED, 0.0, 0.0, False, False),
        (Outcome.UNANSWERED, 0.0, 0.0, True, False),
    ],
)
def test_only_frames_scored_in_time_are_throughput(
    outcome, throughput_fps, answered_fps, corrected, uncorrected
) -> None:
    taken = metrics(PACED, Sample(12.0, 12.1, 12.3, outcome, "SomeError" if not outcome.answered else ""))
    assert (taken.throughput_fps, taken.answered_fps) == (throughput_fps, answered_fps)
    assert taken.counts == {outcome: 1}
    assert taken.errors == ({} if outcome.answered else {"SomeError": 1})
    both = taken.request_latency()
    assert (both.corrected is not None, both.uncorrected is not None) == (corrected, uncorrected)
    if corrected:
        assert both.corrected.p50_ms == pytest.approx(300, rel=HDR)
    if uncorrected:
        assert both.uncorrected.p50_ms == pytest.approx(200, rel=HDR)


def test_only_the_window_counts() -> None:
    inside = [ok(10.0, 0.05), ok(19.99, 0.005)]
    outside = [ok(9.5, 0.4), ok(20.0, 0.1)]
    taken = metrics(PACED, *inside, *outside)
    assert taken.requests == 2
    assert taken.request_latency().corrected.max_ms == pytest.approx(50, rel=HDR)
    # Throughput counts by the answer's time: a request sent in the warm-up counts, an answer after the end does not.
    assert metrics(PACED, ok(9.9, 0.2), ok(19.9, 0.2)).throughput_fps == 0.1


def test_a_clip_call_is_four_frames() -> None:
    taken = metrics(Plan(mode=Mode.CLIPS, rate_hz=5.0), ok(12.0, 0.2))
    run = summarised(taken, 0.1)
    assert run.throughput_fps == 0.4
    assert run.clip.corrected.p50_ms == pytest.approx(200, rel=HDR)
    assert run.frame.corrected.p50_ms == pytest.approx(50, rel=HDR)
    assert run.frame.corrected.quantiles[-1] == (100, run.frame.corrected.max_ms)


def test_a_chunk_counts_with_its_frames() -> None:
    plan = Plan(concurrency=1, chunk_frames=4, duration_s=10.0)
    taken = Metrics(plan, Window(10.0, 20.0))
    taken.record(Sample(11.0, 11.0, 11.4, Outcome.OK))
    taken.record(Sample(12.0, 12.0, 12.4, Outcome.OK, frames=2))
    assert taken.throughput_fps == pytest.approx(0.6)
    assert taken.requests == 2
    latency = frame_latency(taken).uncorrected
    assert latency is not None
    assert latency.p50_ms == pytest.approx(100, rel=0.01)


def test_a_stall_shows_in_the_corrected_percentiles_only() -> None:
    """A camera at 100 fps; the server hangs for 1 of 10 s: one request is in flight, a hundred wait."""
    taken = metrics(Plan(concurrency=1, fps=100.0))
    free_s = 0.0
    for number in range(1000):
        due_s = 10 + number / 100
        sent_s = max(due_s, free_s)
        free_s = sent_s + (1.0 if number == 500 else 0.002)
        taken.record(Sample(due_s, sent_s, free_s, Outcome.OK))
    both = taken.request_latency()
    assert both.uncorrected.p99_ms == pytest.approx(2, rel=0.01)
    assert both.uncorrected.max_ms == pytest.approx(1000, rel=HDR)
    assert both.corrected.p50_ms == pytest.approx(2, rel=0.01)
    assert 150 < both.corrected.p90_ms < 300
    assert both.corrected.p99_ms > 900
    stalled = [piece.at_s for piece in taken.timeline() if piece.max_ms > 700]
    assert stalled == [5.25]


def test_percentiles_match_the_sorted_values() -> None:
    count = 10_000
    values_s = np.sort(np.random.default_rng(5).lognormal(-4, 1, count))
    taken = metrics(PACED, *(ok(12.0, value) for value in values_s))
    latency = taken.request_latency().corrected
    assert latency.count == count
    assert latency.mean_ms == pytest.approx(1000 * values_s.mean(), rel=2 * HDR)
    for percentile, name in ((50, "p50_ms"), (90, "p90_ms"), (99, "p99_ms"), (99.9, "p999_ms"), (100, "max_ms")):
        expected_ms = 1000 * values_s[round(percentile / 100 * count) - 1]
        assert getattr(latency, name) == pytest.approx(expected_ms, rel=2 * HDR), name
    assert [q for q, _ in latency.quantiles] == [0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100]


def test_percentiles_end_at_the_resolution_of_the_values() -> None:
    latency = metrics(PACED, *(ok(12.0, 0.01) for _ in range(20))).request_latency().corrected
    assert [q for q, _ in latency.quantiles] == [0, 10, 25, 50, 75, 90, 95, 100]


def test_back_filling_adds_the_delayed_requests() -> None:
    raw = HdrHistogram(1, 10**9, 3)
    raw.record_value(10_000, 100)
    raw.record_value(15_000)  # below twice the expected interval: adds none
    raw.record_value(1_000_000)
    filled = backfilled(raw, 10_000)
    latency = Latency.of(filled)
    assert latency.count == 100 + 1 + 100
    assert latency.quantiles[0][1] == pytest.approx(10, rel=HDR), "no latency below the expected interval is added"
    assert latency.p50_ms == pytest.approx(15, rel=0.5)
    assert latency.p99_ms == pytest.approx(990, rel=0.01)
    assert Latency.of(raw).p95_ms == pytest.approx(10, rel=HDR)


def test_closed_loop_is_back_filled_at_its_median() -> None:
    samples = [ok(10 + number / 100, 0.01) for number in range(100)]
    samples += [ok(11.0, 1.0), *(ok(12 + number / 100, 0.01) for number in range(100))]
    both = metrics(Plan(concurrency=1), *samples).request_latency()
    assert both.uncorrected.p99_ms == pytest.approx(10, rel=HDR)
    assert both.corrected.p90_ms > 500
    assert metrics(replace(PACED, fps=100.0), *samples).request_latency().corrected.p90_ms < 20


def test_a_run_without_samples_has_no_latency() -> None:
    run = summarised(metrics(), 0.0)
    assert run.frame.corrected is run.frame.uncorrected is run.clip.corrected is None
    text = json.dumps(run.to_dict(), allow_nan=False)
    assert json.loads(text)["throughput_fps"] == 0


def test_timeline_covers_the_window() -> None:
    taken = metrics(PACED, ok(10.1, 0.05), ok(19.9, 0.05), Sample(15.2, 15.2, 15.3, Outcome.FAILED, "E"))
    timeline = taken.timeline()
    assert [piece.at_s for piece in timeline] == [0.25 + 0.5 * number for number in range(20)]
    assert [number for number, piece in enumerate(timeline) if piece.throughput_fps] == [0, 19]
    assert timeline[0].throughput_fps == 2.0
    assert [number for number, piece in enumerate(timeline) if piece.not_ok] == [10]
    assert timeline[10].p50_ms is None
    long = Metrics(replace(PACED, duration_s=3600), Window(0, 3600)).timeline()
    assert len(long) == 120
    assert long[-1].at_s == 3585


def test_a_stream_clip_lasts_from_its_first_send_to_its_last_answer() -> None:
    taken = metrics()
    taken.record_clip(12.0, 12.1, 12.5)
    taken.record_clip(9.0, 9.0, 10.5)
    clip = taken.clip_latency()
    assert clip.corrected.count == 1
    assert (clip.corrected.p50_ms, clip.uncorrected.p50_ms) == pytest.approx((500, 400), rel=HDR)


def test_notes_warn_of_unscored_requests_and_a_busy_load_tester() -> None:
    taken = metrics(PACED, ok(12, 0.1), Sample(13, 13, 13.1, Outcome.UNSCORED))
    (note,) = summarised(taken, 0.3).notes
    assert note.startswith("1 ")
    assert "0.97 cores" in summarised(metrics(PACED, ok(12, 0.1)), 0.97).notes[0]
    assert summarised(taken, 0.3).tool == OURS


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "concurrency=None, rate_hz=None"),
        ({"concurrency": 1, "rate_hz": 1.0}, "concurrency=1, rate_hz=1.0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"rate_hz": 2.0}, "fps=None"),
        ({"rate_hz": float("nan")}, "rate_hz=nan"),
        ({"concurrency": 1, "fps": -1.0}, "fps=-1.0"),
        ({"concurrency": 1, "warm_up_s": -1.0}, "warm_up_s=-1.0"),
        ({"concurrency": 1, "mode": Mode.CLIPS, "fps": 10.0}, "fps"),
        ({"concurrency": 1, "chunk_frames": 0}, "chunk_frames=0"),
        ({"concurrency": 1, "chunk_frames": 17}, "chunk_frames=17"),
        ({"concurrency": 1, "chunk_frames": 4, "mode": Mode.CLIPS}, "chunk_frames"),
        ({"concurrency": 1, "chunk_frames": 4, "fps": 10.0}, "chunk_frames"),
        ({"concurrency": 1, "frames_in_flight": 0}, "frames_in_flight=0"),
        ({"concurrency": 1, "frames_in_flight": 4, "chunk_frames": 4}, "single frames"),
        ({"concurrency": 1, "frames_in_flight": 4, "mode": Mode.CLIPS}, "single frames"),
    ],
)
def test_invalid_plans_are_refused(wrong, named) -> None:
    with pytest.raises(ValueError, match=named):
        Plan(**wrong)


def test_plans_as_text() -> None:
    assert Plan(concurrency=1).load == "1 stream"
    assert Plan(concurrency=8, fps=10).load == "8 streams at 10 fps"
    assert Plan(concurrency=8, chunk_frames=4).load == "8 streams, 4 frames a request"
    assert Plan(concurrency=8, frames_in_flight=4).load == "8 streams, 4 frames in flight"
    assert Plan(concurrency=8, fps=10, frames_in_flight=4).load == "8 streams at 10 fps, 4 frames in flight"
    assert Plan(mode=Mode.CLIPS, concurrency=1).load == "1 clip"
    assert Plan(mode=Mode.CLIPS, rate_hz=2.5).load == "2.5 clips/s, poisson"
    assert Plan(rate_hz=1, fps=10, arrivals=Arrivals.CONSTANT).load == "1 streams/s, constant at 10 fps"
    assert Plan(concurrency=1, fps=10).late_after_s == 0.1
    assert Plan(concurrency=1, fps=10, late_s=0.5).late_after_s == 0.5
    assert Plan(concurrency=1).late_after_s is None


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 9, 31, 100, 640, 1023, 1024])
@pytest.mark.parametrize("first", [1, 16, 5000])
async def test_search_finds_the_limit(limit, first) -> None:
    asked = []

    async def holds(number: int) -> bool:
        assert 1 <= number <= 1024
        asked.append(number)
        return number <= limit

    found = await largest_that_holds(holds, first, 1024)
    assert found <= limit <= found + max(0, found // 20)
    assert len(asked) == len(set(asked)) <= 16
