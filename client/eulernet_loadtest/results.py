# SPDX-License-Identifier: Apache-2.0
"""Results of runs, of this load tester and of perf_analyzer alike: frozen records."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_loadtest.metrics import Both, Interval, Latency, Metrics, Outcome, frame_latency
from eulernet_loadtest.plan import Mode, Plan

OURS, PERF_ANALYZER = "eulernet", "perf_analyzer"
BUSY_CPU = 0.85  # cores; above it the load tester, which runs on one core, may limit the load


@dataclass(frozen=True)
class Run:
    """One measured load.

    Attributes:
        tool: the program that measured.
        load: the load as text.
        mode: `clips` or `streams`.
        concurrency: calls or streams in progress; None in an open loop.
        duration_s: length of the measured window.
        throughput_fps: frames/s that were scored in time.
        answered_fps: frames/s with an answer, scored or not.
        frame: latency per frame; of a clip call, a quarter.
        clip: latency per clip; of a stream, from the first of four frames to the last frame's answer; None: not
            measured.
        plan, counts, errors, timeline: of this load tester only.
        client_cpu: processor time of the load tester, in cores.
        holds: in a search, whether the server sustained this load.
    """

    tool: str
    load: str
    mode: str
    concurrency: int | None
    duration_s: float
    throughput_fps: float
    answered_fps: float
    frame: Both
    clip: Both | None
    plan: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    timeline: tuple[Interval, ...] = ()
    client_cpu: float | None = None
    holds: bool | None = None

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(self.counts.get(each.value, 0) for each in Outcome if not each.answered)

    @property
    def request(self) -> Both:
        """Latency of a request: a clip call, or a stream's frame."""
        return self.clip if self.mode == Mode.CLIPS.value and self.clip is not None else self.frame

    @property
    def notes(self) -> list[str]:
        """Warnings about the numbers."""
        notes = []
        unscored = self.counts.get(Outcome.UNSCORED.value, 0)
        if unscored:
            notes.append(f"{unscored} requests were answered without a score, which costs the server less than a score")
        if self.client_cpu is not None and self.client_cpu > BUSY_CPU:
            notes.append(
                f"the load tester used {self.client_cpu:.2f} cores and may be the bottleneck; run several of them"
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """For JSON: plain numbers, all finite."""
        return {**asdict(self), "notes": self.notes}


def summarised(metrics: Metrics, client_cpu: float, holds: bool | None = None) -> Run:
    """A run of this load tester."""
    plan = metrics.plan
    return Run(
        tool=OURS,
        load=plan.load,
        mode=plan.mode.value,
        concurrency=plan.concurrency,
        duration_s=metrics.window.length_s,
        throughput_fps=metrics.throughput_fps,
        answered_fps=metrics.answered_fps,
        frame=frame_latency(metrics),
        clip=metrics.clip_latency(),
        plan=plan_dict(plan),
        counts={outcome.value: metrics.counts[outcome] for outcome in Outcome},
        errors=dict(metrics.errors),
        timeline=metrics.timeline(),
        client_cpu=client_cpu,
        holds=holds,
    )


def plan_dict(plan: Plan) -> dict[str, Any]:
    """For JSON."""
    return {**asdict(plan), "mode": plan.mode.value, "arrivals": plan.arrivals.value}


@dataclass(frozen=True)
class Machine:
    """The load tester's machine. `load_average`: of the minute before the start."""

    system: str
    processor: str
    cores: int
    load_average: float
    python: str

    @classmethod
    def here(cls) -> Machine:
        return cls(
            system=f"{platform.system()} {platform.release()}",
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            load_average=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Session:
    """All runs of one call of the command, with server, traffic and machine.

    Attributes:
        command: the command's name.
        urls, server_version, weights: of the server.
        bytes_per_frame: mean size of the JPEGs.
        sources: number of videos and folders.
        largest: result of a search for the largest number of streams, as text; empty without a search.
    """

    command: str
    urls: tuple[str, ...]
    server_version: str
    weights: str
    sources: int
    bytes_per_frame: float
    runs: tuple[Run, ...]
    largest: str = ""
    machine: Machine = field(default_factory=Machine.here)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "runs": [run.to_dict() for run in self.runs]}


def perf_analyzer_run(mode: Mode, concurrency: int, duration_s: float, requests_per_s: float, latency: Latency) -> Run:
    """A run of perf_analyzer: requests without a schedule, latency from the actual send."""
    frames = mode.frames_per_request
    whole = Both(None, latency)
    return Run(
        tool=PERF_ANALYZER,
        load=Plan(mode=mode, concurrency=concurrency).load,
        mode=mode.value,
        concurrency=concurrency,
        duration_s=duration_s,
        throughput_fps=requests_per_s * frames,
        answered_fps=requests_per_s * frames,
        frame=whole.divided(CLIP_FRAMES) if mode is Mode.CLIPS else whole,
        clip=whole if mode is Mode.CLIPS else None,
    )
