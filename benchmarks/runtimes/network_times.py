# SPDX-License-Identifier: Apache-2.0
"""Clip networks in each runtime, and their times by turns, so that other load on the machine hits all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from eulernet_core import shipped
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import CLIP_NETWORK_MODEL, FACE, FACE_BOX, STATUS
from eulernet_serving.core_shares import cores
from eulernet_serving.cpu_precision import INT8, processor_runs
from eulernet_serving.plan_records import graph_properties, precision_of
from eulernet_serving.runtime import RuntimeSettings, make_runtime

OPENVINO, ONNX_RUNTIME = "openvino", "onnxruntime"
RUNTIMES = (OPENVINO, ONNX_RUNTIME)
GOLDEN = "golden.npz"  # beside a shipped graph
Spread = tuple[float, float, float]  # median, lowest, highest


@dataclass(frozen=True)
class Network:
    """A graph in a runtime. `weights`: first digits of their hash; `copies`: calls that infer the golden clip, for one
    thread each."""

    weights: str
    precision: str
    runtime: str
    copies: Sequence[Callable[[], Any]]


@dataclass(frozen=True)
class Turn:
    """`alone_s`: seconds a frame of one thread; `together_s`: of all threads together."""

    network: Network
    round: int
    alone_s: float
    together_s: float


def load(graph: Path, runtime: str) -> Network | None:
    """Loads a copy for each core; None for an int8 graph where it is not served: in other runtimes, without AVX2."""
    model = onnx.load(graph)
    precision, weights = precision_of(model), graph_properties(model).get("parameters_sha256", "unknown")[:8]
    if precision == INT8 and not (runtime == OPENVINO and processor_runs(INT8)):
        return None
    clip = golden_clip()
    copies = [_caller(graph, runtime, clip) for _ in range(cores())]
    return Network(weights, precision, runtime, copies)


def golden_clip() -> dict[str, NDArray[Any]]:
    """The inputs of one clip, from the shipped golden case."""
    with np.load(shipped.model_repository() / CLIP_NETWORK_MODEL / "1" / GOLDEN) as golden:
        return {name: golden[name][:1] for name in (FACE, STATUS, FACE_BOX)}


def _caller(graph: Path, runtime: str, clip: Mapping[str, NDArray[Any]]) -> Callable[[], Any]:
    if runtime == ONNX_RUNTIME:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, dict(clip))
    network = make_runtime(graph, RuntimeSettings(runtime, 1))
    return lambda: network(clip)


def turns(networks: Sequence[Network], number: int, seconds: float) -> list[Turn]:
    """One round: each network alone on one thread, then on all cores."""
    return [
        Turn(network, number, _frame_s(network.copies[:1], seconds), _frame_s(network.copies, seconds))
        for network in networks
    ]


def _frame_s(calls: Sequence[Callable[[], Any]], seconds: float) -> float:
    """Seconds for a frame of `calls` that run side by side, after one call each."""
    counts = [0] * len(calls)
    for call in calls:
        call()
    begun_s = time.perf_counter()

    def work(number: int) -> None:
        while time.perf_counter() - begun_s < seconds:
            calls[number]()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begun_s) / (CLIP_FRAMES * sum(counts))


def summary(network: Network, base: Network, measured: Sequence[Turn]) -> dict[str, Any]:
    """A network's times, and their ratios to `base` in the same round."""
    own = {turn.round: turn for turn in measured if turn.network is network}
    to = {turn.round: turn for turn in measured if turn.network is base}
    alone = [own[number].alone_s / to[number].alone_s for number in own]
    together = [own[number].together_s / to[number].together_s for number in own]
    return {
        "weights": network.weights,
        "precision": network.precision,
        "runtime": network.runtime,
        "alone_ms": 1000 * median(turn.alone_s for turn in own.values()),
        "together_fps": 1 / median(turn.together_s for turn in own.values()),
        "alone_ratio": (median(alone), min(alone), max(alone)),
        "together_ratio": (median(together), min(together), max(together)),
    }


def ratio(spread: Spread) -> str:
    """`1.30 (1.20 to 1.40)`."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*spread)
