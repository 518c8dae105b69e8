# SPDX-License-Identifier: Apache-2.0
"""Times the kernels on the GPU, and torch eager, torch.compile and the GPU's copy bandwidth for comparison.

Consecutive calls use different buffers, in total four times the L2 cache, so that every call reads memory, as between
the layers of a network.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from eulernet_build.gpu_check.cases import FULL_BATCH, Case, inputs
from eulernet_build.gpu_check.correctness import Implementation, blank_outputs
from eulernet_build.gpu_check.judge import Row, Timing, judge_timing
from eulernet_build.gpu_check.plain import diirf_gate, tensors

CACHES = 4  # size of all buffers in units of the L2 cache
COPY_BYTES = 1 << 30
ROUND_S, ROUNDS = 0.05, 7  # length and number of the rounds whose median is taken


def time_cases(implementation: Implementation, cases: Iterable[Case], l2_bytes: int) -> Iterator[Row]:
    """Yields one row per case. `l2_bytes`: size of the GPU's L2 cache."""
    copy_bytes_per_s = measure_copy()
    for case in cases:
        sets = [usable_frames(case, seed) for seed in range(buffer_sets(case.traffic_bytes, l2_bytes))]
        outputs = [blank_outputs(given) for given in sets]
        compiled = torch.compile(diirf_gate, dynamic=False, fullgraph=True)
        timing = Timing(
            kernel_s=measure([_bound(implementation, case, *each) for each in zip(sets, outputs, strict=True)]),
            eager_s=measure([_torch_call(diirf_gate, given) for given in sets]),
            compiled_s=measure([_torch_call(compiled, given) for given in sets]),
            traffic_bytes=case.traffic_bytes,
            copy_bytes_per_s=copy_bytes_per_s,
        )
        yield judge_timing(str(case), timing, full=case.n * case.t >= FULL_BATCH)
        torch.compiler.reset()


def usable_frames(case: Case, seed: int) -> dict[str, Tensor]:
    """Inputs on the GPU with every frame usable, as most frames are in service."""
    given = tensors(case, inputs(case, seed), "cuda")
    given["status"].zero_()
    return given


def buffer_sets(traffic_bytes: int, l2_bytes: int) -> int:
    """Number of buffer sets that flush the cache; at most 64, which a single frame does not fill."""
    return min(64, max(2, -(-CACHES * l2_bytes // traffic_bytes)))


def measure_copy() -> float:
    """Bytes per second that the GPU reads and writes while copying."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / measure([lambda: target.copy_(source)])


def measure(calls: Sequence[Callable[[], object]]) -> float:
    """Seconds per call by the GPU's clock: the median of ROUNDS rounds, each over all calls in turn."""
    for call in calls:
        call()
    repeats = max(1, round(ROUND_S / max(_round(calls, 1) * len(calls), 1e-9)))
    return statistics.median(_round(calls, repeats) for _ in range(ROUNDS))


def _round(calls: Sequence[Callable[[], object]], repeats: int) -> float:
    event: Any = torch.cuda.Event  # torch does not type it
    start, end = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        for call in calls:
            call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeats / len(calls)


def _bound(
    implementation: Implementation, case: Case, given: dict[str, Tensor], outputs: dict[str, Tensor]
) -> Callable[[], object]:
    return lambda: implementation(case, given, outputs)


def _torch_call(function: Callable[..., object], given: dict[str, Tensor]) -> Callable[[], object]:
    arguments = [given[name] for name in ("x", "weight", "h1", "h2", "coefficients", "status")]

    def call() -> object:
        with torch.inference_mode():
            return function(*arguments)

    return call
