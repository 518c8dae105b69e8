"""Frames a second of graphs side by side on this processor, through OpenVINO, which the CPU configuration runs.

Seconds of processor time: on one thread the same as the clock's on an idle machine, and hardly others on a busy one.
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

# What makes int8 and bf16 fast, as Linux names it.
_FLAGS = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


@dataclass(frozen=True)
class Speed:
    """`fps`: frames a second, the median of the rounds; `ratio`: to the first graph in the same round, the median."""

    name: str
    batch: int
    fps: float
    ratio: float


def measure_speed(graphs: Mapping[str, tuple[ModelProto, str]], batch: int, rounds: int, calls: int) -> list[Speed]:
    """Runs step graphs on one thread, in turn, so that what else the machine does meets all of them alike.

    Args:
        graphs: by name, each with OpenVINO's INFERENCE_PRECISION_HINT.
        batch: frames a call.
        rounds: how often each has its turn.
        calls: a turn.
    """
    runners = {name: openvino_runner(graph, hint) for name, (graph, hint) in graphs.items()}
    inputs = {name: random_inputs(graph, rows=batch) for name, (graph, _) in graphs.items()}
    for each in inputs.values():
        each["STATUS"] = np.zeros_like(each["STATUS"])
    fps: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(rounds + 1):
        for name, run in runners.items():
            start_s = time.process_time()
            for _ in range(calls):
                run(inputs[name])
            if turn:  # the first warms up
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
    """This processor's name and what of it speeds up low precision, as Linux tells."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    having = [flag for flag in _FLAGS if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', 'unknown')} ({', '.join(having) or 'none of ' + ', '.join(_FLAGS)})"
