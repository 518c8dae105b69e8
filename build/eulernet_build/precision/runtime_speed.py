# SPDX-License-Identifier: Apache-2.0
"""Compares the frames per second of graphs on this processor, in OpenVINO, a runtime of the CPU configuration.

Measures processor time of one thread: equal to wall-clock time on an idle machine, and little affected by other load.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from eulernet_build.parity import openvino_runner
from eulernet_build.surgery import random_inputs
from eulernet_core.tensors import STATUS

# Processor features that accelerate int8 and bf16, by their names in Linux.
_FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


@dataclass(frozen=True)
class Speed:
    """`fps`: frames per second, the median over rounds; `ratio`: fps relative to the first graph's in the same round,
    the median over rounds."""

    name: str
    batch: int
    fps: float
    ratio: float


def measure_speed(graphs: Mapping[str, tuple[ModelProto, str]], batch: int, rounds: int, calls: int) -> list[Speed]:
    """Runs step graphs on one thread in turn, so that other load on the machine affects all of them equally.

    Args:
        graphs: by name, each with OpenVINO's INFERENCE_PRECISION_HINT.
        batch: frames per call.
        rounds: turns per graph.
        calls: per turn.
    """
    runners = {name: openvino_runner(graph, hint) for name, (graph, hint) in graphs.items()}
    inputs = {name: random_inputs(graph, rows=batch) for name, (graph, _) in graphs.items()}
    for each in inputs.values():
        each[STATUS] = np.zeros_like(each[STATUS])
    fps: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(rounds + 1):
        for name, run in runners.items():
            start_s = time.process_time()
            for _ in range(calls):
                run(inputs[name])
            if turn:  # the first turn warms up
                fps[name].append(batch * calls / (time.process_time() - start_s))
    first = next(iter(fps.values()))
    return [
        Speed(
            name,
            batch,
            statistics.median(each),
            statistics.median(one / other for one, other in zip(each, first, strict=True)),
        )
        for name, each in fps.items()
    ]


def processor() -> str:
    """This processor's name and its features for low precision, from /proc/cpuinfo."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    having = [flag for flag in _FLAGS if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', 'unknown')} ({', '.join(having) or 'none of ' + ', '.join(_FLAGS)})"
