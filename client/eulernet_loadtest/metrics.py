# SPDX-License-Identifier: Apache-2.0
"""Outcomes of requests, HDR histograms of their latency (hdrhistogram.org), and a timeline of the run.

Each latency has two values. Corrected: from the intended send. Uncorrected: from the actual send, which is too small if
a slow server delays the next request (coordinated omission).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from hdrh.histogram import HdrHistogram

from eulernet_loadtest.plan import Mode, Plan

LONGEST_US = 3_600_000_000
DIGITS = 3  # significant digits of a latency
TIMELINE_DIGITS = 2
MOST_INTERVALS = 120
SHORTEST_INTERVAL_S = 0.5
_TAIL = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9, "max_ms": 100}
QUANTILES = (0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100)


class Outcome(str, Enum):
    """Outcome of a request. Only OK counts as throughput."""

    OK = "ok"
    LATE = "late"  # scored, after the plan's limit
    UNSCORED = "unscored"  # answered with a STATUS other than a score
    REJECTED = "rejected"  # the server's queue was full
    FAILED = "failed"
    UNANSWERED = "unanswered"  # no answer within the timeout, or at the end of the run

    @property
    def answered(self) -> bool:
        """Whether the server answered, so that the request has a latency."""
        return self in (Outcome.OK, Outcome.LATE, Outcome.UNSCORED)


@dataclass(frozen=True)
class Sample:
    """One request; times in s of one clock. `sent_s`: None if it was never sent; `error`: the exception's name;
    `frames`: None for as many as the plan's requests have."""

    intended_s: float
    sent_s: float | None
    done_s: float
    outcome: Outcome
    error: str = ""
    frames: int | None = None


@dataclass(frozen=True)
class Window:
    """The measured interval, after the warm-up."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s

    def holds(self, time_s: float) -> bool:
        return self.begin_s <= time_s < self.end_s


@dataclass(frozen=True)
class Latency:
    """A distribution in ms; None for values that a tool does not report. `quantiles`: pairs of percentile and value, of
    the percentiles that `count` values resolve."""

    count: int | None
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float | None
    max_ms: float | None
    quantiles: tuple[tuple[float, float], ...] = field(repr=False)

    @classmethod
    def of(cls, histogram: HdrHistogram) -> Latency | None:
        """The histogram's summary; None if it is empty."""
        total = histogram.get_total_count()
        if total == 0:
            return None
        known = [q for q in QUANTILES if q in (0, 100) or round((100 - q) * total, 6) >= 100]
        # One pass for all percentiles: iterating over a histogram is slow.
        values_us = histogram.get_percentile_to_value_dict([*_TAIL.values(), *known])
        return cls(
            count=total,
            mean_ms=float(histogram.get_mean_value()) / 1000,
            **{name: values_us[q] / 1000 for name, q in _TAIL.items()},
            quantiles=tuple((q, values_us[q] / 1000) for q in known),
        )

    def divided(self, parts: int) -> Latency:
        """All latencies divided by `parts`, such as a clip call's by its frames."""
        values = {name: getattr(self, name) for name in ("mean_ms", *_TAIL)}
        shares: dict[str, Any] = {name: None if value is None else value / parts for name, value in values.items()}
        return replace(self, **shares, quantiles=tuple((q, value / parts) for q, value in self.quantiles))


@dataclass(frozen=True)
class Both:
    """Latency from the intended and from the actual send; None without an answer."""

    corrected: Latency | None
    uncorrected: Latency | None

    def divided(self, parts: int) -> Both:
        """See Latency.divided."""
        return Both(*(each and each.divided(parts) for each in (self.corrected, self.uncorrected)))


@dataclass(frozen=True)
class Interval:
    """A part of the run. `at_s`: its middle, from the start of the window; latency: corrected, by intended send."""

    at_s: float
    throughput_fps: float
    not_ok: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def us(seconds: float) -> int:
    """Whole µs within a histogram's range."""
    return min(LONGEST_US, max(1, round(seconds * 1e6)))


def backfilled(histogram: HdrHistogram, expected_us: int) -> HdrHistogram:
    """HdrHistogram's correction for a closed loop, which has no schedule. Each latency L adds the latencies of the
    requests that it delayed: L - e, L - 2e, … down to e, the expected interval in µs.

    Not the package's record_corrected_value: it continues below e and adds a short latency for every second request.
    """
    result = HdrHistogram(1, LONGEST_US, DIGITS)
    for item in histogram.get_recorded_iterator():
        value_us, times = item.value_iterated_to, item.count_at_value_iterated_to
        result.record_value(value_us, times)
        for missing_us in range(value_us - expected_us, expected_us - 1, -expected_us):
            result.record_value(missing_us, times)
    return result


class _Pair:
    """The two histograms of one kind of latency."""

    def __init__(self) -> None:
        self.corrected = HdrHistogram(1, LONGEST_US, DIGITS)
        self.uncorrected = HdrHistogram(1, LONGEST_US, DIGITS)

    def both(self, closed: bool) -> Both:
        uncorrected = Latency.of(self.uncorrected)
        if not closed:
            return Both(Latency.of(self.corrected), uncorrected)
        if Latency.of(self.corrected) is None:
            return Both(None, uncorrected)
        expected_us = self.corrected.get_value_at_percentile(50)
        return Both(Latency.of(backfilled(self.corrected, expected_us)), uncorrected)


class _Slot:
    def __init__(self) -> None:
        self.ok_frames = self.not_ok = 0
        self.latency = HdrHistogram(1, LONGEST_US, TIMELINE_DIGITS)


class Metrics:
    """Collects samples. Latency and counts cover requests intended within the window; throughput covers answers that
    arrived within it."""

    def __init__(self, plan: Plan, window: Window) -> None:
        self.plan, self.window = plan, window
        self.counts: Counter[Outcome] = Counter()
        self.errors: Counter[str] = Counter()
        self._requests, self._clips = _Pair(), _Pair()
        self._ok_frames = self._answered_frames = 0
        self._interval_s = max(SHORTEST_INTERVAL_S, window.length_s / MOST_INTERVALS)
        self._slots = [_Slot() for _ in range(max(1, round(window.length_s / self._interval_s)))]

    def record(self, sample: Sample) -> None:
        """Adds one request."""
        if self.window.holds(sample.done_s) and sample.outcome.answered:
            frames = sample.frames or self.plan.frames_per_request
            self._answered_frames += frames
            if sample.outcome is Outcome.OK:
                self._ok_frames += frames
                self._slot(sample.done_s).ok_frames += frames
        if not self.window.holds(sample.intended_s):
            return
        self.counts[sample.outcome] += 1
        slot = self._slot(sample.intended_s)
        if sample.outcome is not Outcome.OK:
            slot.not_ok += 1
        if sample.error:
            self.errors[sample.error] += 1
        self._latency(self._requests, sample.intended_s, sample.sent_s, sample.done_s, sample.outcome)
        if sample.outcome.answered or sample.outcome is Outcome.UNANSWERED:
            slot.latency.record_value(us(sample.done_s - sample.intended_s))

    def record_clip(self, intended_s: float, sent_s: float, done_s: float) -> None:
        """Adds four answered frames of a stream, from the first frame's send to the last frame's answer."""
        if self.window.holds(intended_s):
            self._latency(self._clips, intended_s, sent_s, done_s, Outcome.OK)

    @staticmethod
    def _latency(pair: _Pair, intended_s: float, sent_s: float | None, done_s: float, outcome: Outcome) -> None:
        # A refusal has no latency. An unanswered request counts with the time waited, its lower bound: without it the
        # percentiles would omit the worst requests.
        if outcome.answered or outcome is Outcome.UNANSWERED:
            pair.corrected.record_value(us(done_s - intended_s))
        if outcome.answered and sent_s is not None:
            pair.uncorrected.record_value(us(done_s - sent_s))

    def _slot(self, time_s: float) -> _Slot:
        return self._slots[min(len(self._slots) - 1, int((time_s - self.window.begin_s) / self._interval_s))]

    @property
    def requests(self) -> int:
        """Requests intended within the window."""
        return sum(self.counts.values())

    @property
    def throughput_fps(self) -> float:
        """Frames/s that were scored in time."""
        return self._ok_frames / self.window.length_s

    @property
    def answered_fps(self) -> float:
        """Frames/s that were answered, scored or not."""
        return self._answered_frames / self.window.length_s

    @property
    def recent_fps(self) -> float:
        """Frames/s of the last complete interval with an answer, for a progress display."""
        seen = [slot.ok_frames for slot in self._slots if slot.ok_frames]
        return seen[max(0, len(seen) - 2)] / self._interval_s if seen else 0.0

    def request_latency(self) -> Both:
        """Latency of a request: a clip call, a frame, or several frames of a stream."""
        return self._requests.both(self.plan.closed)

    def clip_latency(self) -> Both:
        """Latency of a clip: a clip call, or four frames of a stream with the intervals between them."""
        pair = self._requests if self.plan.mode is Mode.CLIPS else self._clips
        return pair.both(self.plan.closed)

    def timeline(self) -> tuple[Interval, ...]:
        """The intervals of the window, in order."""
        intervals = []
        for number, slot in enumerate(self._slots):
            end_s = self.window.length_s if slot is self._slots[-1] else (number + 1) * self._interval_s
            latency = Latency.of(slot.latency)
            intervals.append(
                Interval(
                    at_s=(number * self._interval_s + end_s) / 2,
                    throughput_fps=slot.ok_frames / (end_s - number * self._interval_s),
                    not_ok=slot.not_ok,
                    p50_ms=latency.p50_ms if latency else None,
                    p99_ms=latency.p99_ms if latency else None,
                    max_ms=latency.max_ms if latency else None,
                )
            )
        return tuple(intervals)


def frame_latency(metrics: Metrics) -> Both:
    """Latency per frame: of a request, divided by its frames."""
    both, frames = metrics.request_latency(), metrics.plan.frames_per_request
    return both.divided(frames) if frames > 1 else both
