# SPDX-License-Identifier: Apache-2.0
"""Processor time of each stage for one frame, and from it, on paper, the cores that a GPU needs beside it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.rig import Load, Rig
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.face_locating import LocateSettings, Locator, Lock
from eulernet_serving.process_watch import STUB
from eulernet_serving.runtime import RuntimeSettings, make_runtime

REDETECT = LocateSettings().redetect_frames
SERVER = "tritonserver"


@dataclass(frozen=True)
class LocateCost:
    """Processor ms a frame of the locating code alone, in this process.

    Attributes:
        held: a frame whose box is held: structure and limits of the JPEG.
        checked: the same with `full_check`, which decodes the picture at an eighth.
        first: a frame that needs the detector: a thumbnail too, without the detector itself.
        detector: the detector on one picture, in OpenVINO on one thread.
    """

    held: float
    checked: float
    first: float
    detector: float

    def stream_ms(self) -> float:
        """A frame of a long stream, its share of the detections included, without the detector."""
        return self.held + (self.first - self.held) / REDETECT

    def clip_ms(self) -> float:
        """A frame of a clip, without the detector."""
        return self.held + (self.first - self.held) / CLIP_FRAMES


@dataclass(frozen=True)
class StageCost:
    """Processor ms a frame of one process group of the running server: a stage with its share of Triton's Python
    backend, or `tritonserver` itself: gRPC, ensembles, queues."""

    mode: str
    stage: str
    instances: int
    ms: float


def locate_cost(traffic: Traffic, detector: Path, frames: int) -> LocateCost:
    """Measures the locating code.

    Args:
        traffic: JPEGs of one size with a face.
        detector: the face detector's graph.
        frames: of each measurement.
    """
    cv2.setNumThreads(1)
    runtime = make_runtime(detector, RuntimeSettings(threads=1))
    jpegs = [np.frombuffer(jpeg, np.uint8) for clip in traffic.clips() for jpeg in clip][:frames]
    answers = [
        np.array([[0.3, 0.3, 0.7, 0.7]], np.float32),
        np.array([[0.9]], np.float32),
        np.zeros((1, 1), np.float32),
    ]

    def found(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(np.repeat(each, len(images), axis=0) for each in answers)

    def locating(held: bool, full_check: bool) -> Callable[[], object]:
        # A large number of frames between detections: only the first frame of a lock needs one.
        locator = Locator(LocateSettings(redetect_frames=1 << 30, full_check=full_check), found)  # type: ignore[arg-type]
        lock = Lock()
        locator(jpegs[:1], [lock])
        return lambda: [locator([jpeg], [lock if held else Lock()]) for jpeg in jpegs]

    image = np.zeros((1, 128, 128, 3), np.uint8)
    return LocateCost(
        held=_ms(locating(True, False), len(jpegs)),
        checked=_ms(locating(True, True), len(jpegs)),
        first=_ms(locating(False, False), len(jpegs)),
        detector=_ms(lambda: [runtime({"IMAGE": image}) for _ in jpegs], len(jpegs)),
    )


def _ms(call: Callable[[], object], frames: int, rounds: int = 3) -> float:
    """Processor ms of this process for a frame: the median of some rounds after a first one."""
    call()
    spent = []
    for _ in range(rounds):
        begun_s = time.process_time()
        call()
        spent.append(1000 * (time.process_time() - begun_s) / frames)
    return median(spent)


def stage_costs(rig: Rig, traffic: Traffic, plans: Sequence[Plan]) -> tuple[list[StageCost], list[Load]]:
    """Runs plans on a server and divides each process's time by the frames that were answered."""
    costs, loads = [], []
    for plan in plans:
        before = _cpu_by_stage(rig)
        load = rig.load(traffic, plan)
        spent = {stage: after - before[stage] for stage, after in _cpu_by_stage(rig).items()}
        frames = load.requests * plan.mode.frames_per_request
        loads.append(load)
        # A stage of the other ensemble only idles.
        costs += [
            StageCost(load.mode, stage, load.stages[stage].instances if stage in load.stages else 1, 1000 * s / frames)
            for stage, s in sorted(spent.items())
            if stage == SERVER or stage in load.stages
        ]
    return costs, loads


def _cpu_by_stage(rig: Rig) -> dict[str, float]:
    assert rig.server.pid is not None
    server = psutil.Process(rig.server.pid)
    found: dict[str, float] = defaultdict(float)
    for process in (server, *server.children()):
        command = process.cmdline()
        stage = SERVER
        if command and STUB in command[0]:
            stage = next((Path(part).parts[-3] for part in islice(command, 1, None) if part.endswith(".py")), STUB)
        times = process.cpu_times()
        found[stage] += times.user + times.system
    return found


def cores_for(frames_per_s: float, costs: Sequence[StageCost], mode: Mode, stages: Sequence[str]) -> dict[str, float]:
    """Cores of each stage for a rate, on paper: processor time of a frame times frames/s."""
    of_mode = {cost.stage: cost.ms for cost in costs if cost.mode == mode.value}
    return {stage: of_mode[stage] * frames_per_s / 1000 for stage in stages if stage in of_mode}
