# SPDX-License-Identifier: Apache-2.0
"""Loads on the GPU server, on the CPU configuration and on FastAPI, on the same cores, and the use of the GPU."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.pages import say
from benchmarks.peers.bench_clips import write_clips
from benchmarks.peers.contest import FASTAPI_SETTINGS
from benchmarks.peers.errors import BenchError
from benchmarks.peers.servers import fastapi
from benchmarks.peers.ways import Place
from benchmarks.rig import Rig
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.traffic import Traffic

REAL_TIME_FPS = 10.0
LATE_S = 0.1  # a frame of a real-time stream that is answered later is late
GPU_QUERY = "utilization.gpu,utilization.memory,memory.used"
SAMPLE_MS = 500


@dataclass(frozen=True)
class LoadSettings:
    """`seconds`, `warm_up_s`: of each load; `clips`: calls in progress; `streams`: streams without a
    pause between frames; `real_time`: streams of 10 frames/s."""

    seconds: float = 5.0
    warm_up_s: float = 2.0
    clips: tuple[int, ...] = (1, 8, 32, 128)
    streams: tuple[int, ...] = (1, 16, 64, 256)
    real_time: tuple[int, ...] = (100, 300, 1000)

    def plans(self) -> Iterator[Plan]:
        """All loads, the smallest of each kind first."""
        timed = replace(Plan(concurrency=1), duration_s=self.seconds, warm_up_s=self.warm_up_s)
        yield from (replace(timed, mode=Mode.CLIPS, concurrency=number) for number in self.clips)
        yield from (replace(timed, concurrency=number) for number in self.streams)
        for number in self.real_time:
            yield replace(timed, concurrency=number, fps=REAL_TIME_FPS, late_s=LATE_S)


@dataclass
class GpuUse:
    """Samples of nvidia-smi during a load: percent, percent, MiB. Empty without a GPU."""

    samples: list[tuple[float, float, float]] = field(default_factory=list)

    def means(self) -> dict[str, float] | None:
        """Mean of each; None without samples."""
        if not self.samples:
            return None
        names = ("busy_percent", "memory_busy_percent", "memory_mib")
        return dict(zip(names, map(mean, zip(*self.samples, strict=True)), strict=True))


@contextmanager
def gpu_use() -> Iterator[GpuUse]:
    """Samples the GPU while the block runs."""
    use = GpuUse()
    command = ["nvidia-smi", f"--query-gpu={GPU_QUERY}", "--format=csv,noheader,nounits", f"--loop-ms={SAMPLE_MS}"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield use
        return
    assert process.stdout is not None

    def read(lines: Iterable[str]) -> None:
        for line in lines:
            values = [part.strip() for part in line.split(",")]
            if len(values) == 3 and all(value.isdecimal() for value in values):
                use.samples.append((float(values[0]), float(values[1]), float(values[2])))

    reader = threading.Thread(target=read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield use
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def server_loads(repository: Path, log: Path, traffic: Traffic, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Runs the plans on a Triton server. Returns: rows of `rig.Load`, with `fps` of the plan and `gpu`."""
    rows = []
    with Rig(repository, log) as rig:
        for plan in plans:
            with gpu_use() as use:
                load = rig.load(traffic, plan)
            rate = f" of {plan.fps:g} frames/s" if plan.fps else ""
            say(f"{repository.name}: {load.concurrency} {load.mode}{rate}: {load.throughput_fps:.0f} frames/s")
            rows.append({**asdict(load), "fps": plan.fps, "gpu": use.means()})
    return rows


def fastapi_loads(repository: Path, out: Path, traffic: Traffic, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Runs the plans of clip calls on the peer, each of its settings at the first plan's load and the best at all."""
    clips = out / "clips"
    write_clips(traffic, clips)
    place = Place(repository, traffic, clips, out)
    tried: list[tuple[float, int]] = []
    for number, setting in enumerate(FASTAPI_SETTINGS):
        try:
            with fastapi(place, setting) as running:
                load = running.load(plans[-1])
        except BenchError as error:
            say(f"FastAPI, {setting.words}: {error}")
            continue
        say(f"FastAPI, {setting.words}: {load.frames_per_s:.0f} frames/s")
        tried.append((load.frames_per_s, number))
    if not tried:
        raise BenchError(f"none of FastAPI's settings answered; see {out}")
    best = FASTAPI_SETTINGS[max(tried)[1]]
    rows = []
    with fastapi(place, best) as running:
        for plan in plans:
            load = running.load(plan)
            rows.append({**asdict(load), "concurrency": plan.concurrency, "setting": best.words})
    return rows
