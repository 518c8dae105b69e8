# SPDX-License-Identifier: Apache-2.0
"""The loads of the three parts; each returns records for results.json."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import onnx

from benchmarks.moving_pictures import traffic
from benchmarks.pages import say
from benchmarks.rig import Load, Rig, combined
from benchmarks.scaling.held_open import hold_open
from eulernet_core.tensors import STATE_INPUT_SUFFIX, STEP_NETWORK_MODEL
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.results import Run
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.triton_config import read_config

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64)
FRAME_SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))
OPEN_SEQUENCES = (1, 10, 100, 300, 1000)
FRAME_SIZE_CONCURRENCY = 8
STREAM_FRAMES = 48  # of a stream; at 10 frames/s nearly 5 s
PACED_SHARE = 0.5  # of a single stream's rate: latency then depends on the open streams, not on the load


def warm_up_s(seconds: float) -> float:
    """Warm-up before a window of `seconds`."""
    return min(2.0, seconds / 3)


def plan(mode: Mode, concurrency: int, seconds: float) -> Plan:
    """A closed loop: each call or frame follows the previous answer."""
    frames = STREAM_FRAMES if mode is Mode.STREAMS else None
    return Plan(
        mode=mode,
        concurrency=concurrency,
        stream_frames=frames,
        duration_s=seconds,
        warm_up_s=warm_up_s(seconds),
    )


def against_concurrency(
    rig: Rig, pictures: Traffic, numbers: tuple[int, ...], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Both modes at each concurrency. Every second round is in reverse order, which cancels a drift of the machine."""
    loads: dict[tuple[Mode, int], list[Load]] = {(mode, n): [] for mode in Mode for n in numbers}
    for number in range(rounds):
        for mode, n in list(loads)[:: -1 if number % 2 else 1]:
            loads[mode, n].append(rig.load(pictures, plan(mode, n, seconds)))
            say(f"concurrency, round {number + 1}: {mode.value} {n}: {loads[mode, n][-1].throughput_fps:.1f} frames/s")
    return [asdict(combined(each)) for each in loads.values()]


def against_frame_size(
    rig: Rig, sizes: tuple[tuple[int, int], ...], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Both modes with pictures of each size."""
    points: dict[tuple[int, int], dict[str, Any]] = {}
    loads: dict[tuple[int, int, Mode], list[Load]] = {(*size, mode): [] for size in sizes for mode in Mode}
    for number in range(rounds):
        for width, height in sizes[:: -1 if number % 2 else 1]:
            pictures = traffic(width, height)  # made for each round: all sizes together need much memory
            points[width, height] = {
                "width_px": width,
                "height_px": height,
                "bytes_per_frame": pictures.bytes_per_frame,
            }
            for mode in Mode:
                load = rig.load(pictures, plan(mode, FRAME_SIZE_CONCURRENCY, seconds))
                loads[width, height, mode].append(load)
                say(f"{width}x{height}, round {number + 1}: {mode.value}: {load.throughput_fps:.1f} frames/s")
    return [
        points[width, height] | asdict(combined(loads[width, height, mode])) for width, height in sizes for mode in Mode
    ]


def state_bytes(repository: Path) -> int:
    """Size of one sequence's filter state: the sum of the graph's state inputs."""
    graph = onnx.load(repository / STEP_NETWORK_MODEL / "1" / "model.onnx").graph
    total = 0
    for tensor in graph.input:
        if tensor.name.startswith("s") and tensor.name.endswith(STATE_INPUT_SUFFIX):
            kind = tensor.type.tensor_type
            sides = [side.dim_value for side in kind.shape.dim][1:]  # without the batch
            size = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
            for side in sides:
                size *= side
            total += size
    return total


def idle_limit_s(repository: Path) -> float:
    """Time without a frame after which the server ends a stream."""
    paths = repository.glob("*/configs/cpu.pbtxt")
    limits = [read_config(path).sequence_batching.max_sequence_idle_microseconds for path in paths]
    return float(min(limit for limit in limits if limit)) / 1e6


def against_open_sequences(
    rig: Rig, pictures: Traffic, numbers: tuple[int, ...], seconds: float
) -> tuple[list[dict[str, Any]], float]:
    """Open streams that send in turn at a low total rate. Returns the points and that rate, in Hz.

    The numbers ascend, since Python does not return freed memory to the system.
    """
    # Loads that bring the buffers to their final sizes before memory is measured.
    rig.load(pictures, plan(Mode.STREAMS, 16, seconds))
    rig.load(pictures, plan(Mode.CLIPS, 16, warm_up_s(seconds)))
    alone = rig.load(pictures, plan(Mode.STREAMS, 1, seconds))
    rate_hz = max(PACED_SHARE * alone.throughput_fps, 1.0)
    points = []
    for number in sorted(numbers):
        more: dict[str, Any] = {"sequences": number}

        def run(more: dict[str, Any] = more) -> Run:
            measured, samples, more["opening_s"] = hold_open(
                rig.runner(pictures).connect,
                pictures,
                more["sequences"],
                rate_hz,
                seconds,
                lambda: (rig.pss_bytes(), rig.open_sequences()),
            )
            more |= _middle(samples)
            return measured

        load = rig.watch(run)
        points.append(asdict(load) | more)
        say(f"{number} open: p99 {load.p99_ms} ms, {more['pss_bytes'] / 1e6:.0f} MB, {more['open']}")
    return points, rate_hz


def _middle(samples: list[tuple[int, dict[str, int]]]) -> dict[str, Any]:
    """The medians of the samples."""
    models = samples[0][1]
    return {
        "pss_bytes": median(pss for pss, _ in samples),
        "open": {model: median(each.get(model, 0) for _, each in samples) for model in models},
    }
