# SPDX-License-Identifier: Apache-2.0
"""Shapes for checking and timing the kernels, their inputs, and the memory traffic of one call."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
LEVELS = ((24, 64), (40, 32), (80, 16))  # channels, and height and width, of the network's three FCAMs
NARROW = ((16, 64), (64, 32), (128, 16))  # with 4, 16 and 32 channels for each map
MAPS = 4
FULL_BATCH = 256
# Scored and not, with and without a start, with and without notes; three frames contain most kinds.
STATUSES = (0, 8, 66, 6, 33, 16, 2, 148)


@dataclass(frozen=True)
class Case:
    """One call of a kernel.

    Attributes:
        op: DIIRF, with x (n, t, k, h, w), or DIIRFGate, with x (n * t, c, h, w).
        n, t, c, k, h, w: sequences, frames, channels (0 for DIIRF), maps, height, width.
        dtype: of x and y: fp32, fp16 or bf16.
        channels_last: memory layout of x and y.
        status: whether the call has the input `status`, else NULL.
    """

    op: str
    n: int
    t: int
    c: int
    k: int
    h: int
    w: int
    dtype: str = "fp32"
    channels_last: bool = False
    status: bool = True

    def __str__(self) -> str:
        c = f"c{self.c} " if self.op == "DIIRFGate" else ""
        layout = " nhwc" if self.channels_last else ""
        return f"{self.op} n{self.n} t{self.t} {c}k{self.k} {self.h}x{self.w} {self.dtype}{layout}"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x and y."""
        if self.op == "DIIRF":
            return self.n, self.t, self.k, self.h, self.w
        return self.n * self.t, self.c, self.h, self.w

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of h1 and h2."""
        return self.n, self.k, self.h, self.w

    @property
    def traffic_bytes(self) -> int:
        """Least memory traffic: x, y, and both states in and out."""
        x = int(np.prod(self.x_shape)) * BYTES[self.dtype]
        return 2 * x + 4 * int(np.prod(self.state_shape)) * BYTES["fp32"]


def checked_cases() -> list[Case]:
    """Batch 1, odd sizes, sizes that fill no block, one map, as many maps as channels, the network's levels."""
    plain = [
        Case("DIIRF", 1, 1, 0, MAPS, 64, 64),
        Case("DIIRF", 1, 4, 0, MAPS, 16, 16),
        Case("DIIRF", 3, 5, 0, 3, 7, 13),
        Case("DIIRF", 2, 3, 0, 1, 1, 1),
        Case("DIIRF", 5, 2, 0, 7, 17, 31),
    ]
    gates = [
        *(Case("DIIRFGate", 1, t, c, MAPS, side, side) for (c, side), t in product(LEVELS, (1, 4))),
        *(Case("DIIRFGate", 1, 3, c, MAPS, side, side) for c, side in NARROW),
        Case("DIIRFGate", 2, 3, 6, 3, 5, 7),
        Case("DIIRFGate", 1, 2, 5, 1, 1, 1),
        Case("DIIRFGate", 3, 1, 8, 8, 9, 11),
        Case("DIIRFGate", 2, 4, 96, 32, 17, 31),
        Case("DIIRFGate", 1, 5, 256, 2, 3, 129),
        Case("DIIRFGate", 2, 4, 32, MAPS, 8, 8, status=False),
        Case("DIIRFGate", FULL_BATCH, 1, 128, MAPS, 16, 16),
    ]
    layouts = [gate for case in gates for gate in (case, replace(case, channels_last=True))]
    return [replace(case, dtype=dtype) for case in (*plain, *layouts) for dtype in BYTES]


def timed_cases() -> list[Case]:
    """The network's levels: one frame of one stream, of 256 streams, and 64 clips."""
    batches = ((1, 1), (FULL_BATCH, 1), (FULL_BATCH // 4, 4))
    return [
        Case("DIIRFGate", n, t, c, MAPS, side, side, dtype)
        for dtype, (n, t), (c, side) in product(("fp32", "fp16"), batches, LEVELS)
    ]


def inputs(case: Case, seed: int = 0) -> Tensors:
    """Inputs of a case by the parameter names of kernels_c.h, stable filters, and every kind of STATUS.

    Returns: float64 arrays whose values float32 represents exactly, and in x also the case's type; status is int32.
    """
    random = np.random.default_rng(seed)
    a2 = random.uniform(-0.9, 0.9, case.k)
    a1 = random.uniform(-0.9, 0.9, case.k) * (1 + a2)
    made: Tensors = {
        "x": random.normal(size=case.x_shape),
        "h1": random.normal(size=case.state_shape),
        "h2": random.normal(size=case.state_shape),
        "coefficients": np.stack([*random.uniform(-1, 1, (3, case.k)), a1, a2], axis=1),
    }
    if case.op == "DIIRFGate":
        made["weight"] = random.normal(size=(case.k, case.c)) / np.sqrt(case.c)
        starts = random.uniform(-1, 1, (case.k, 2))
        made["coefficients"] = np.concatenate([made["coefficients"], starts], axis=1)
    made = {name: value.astype(np.float32).astype(np.float64) for name, value in made.items()}
    made["x"] = rounded(made["x"], case.dtype)
    if case.op == "DIIRFGate" and case.status:
        made["status"] = np.resize(np.array(STATUSES, np.int32), (case.n, case.t))
    return made


def rounded(values: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """Rounds to the nearest values of a type, ties to even."""
    if dtype == "bf16":
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        nearest = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        return nearest.astype(np.uint32).view(np.float32).astype(np.float64)
    return values.astype({"fp32": np.float32, "fp16": np.float16}[dtype]).astype(np.float64)
