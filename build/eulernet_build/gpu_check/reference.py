# SPDX-License-Identifier: Apache-2.0
"""The two ops in float64 numpy, after their formulas: the reference for every kernel.

DIIRF is equations 1 to 3 of the SEKE 2022 slides, DIIRFGate is a whole FCAM. Shares no code with the kernels or torch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.status import NOT_SCORED, Status

Array = NDArray[Any]


def diirf(x: Array, h1: Array, h2: Array, coefficients: Array) -> tuple[Array, Array, Array]:
    """The biquad over time.

    Args:
        x: (N, T, K, H, W).
        h1, h2: (N, K, H, W), the state before the first frame.
        coefficients: (K, 5), columns b0, b1, b2, a1, a2.
    Returns: float64 y (N, T, K, H, W), and h1, h2 after the last frame.
    """
    x, h1, h2 = (np.asarray(each, np.float64) for each in (x, h1, h2))
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        y[:, t], h1, h2 = _frame(x[:, t], h1, h2, coefficients)
    return y, h1, h2


def diirf_gate(
    x: Array, weight: Array, h1: Array, h2: Array, coefficients: Array, status: Array | None
) -> tuple[Array, Array, Array]:
    """The whole FCAM: compress the channels, filter, sigmoid, multiply with x.

    Args:
        x: (N * T, C, H, W), the frames of a sequence adjacent.
        weight: (K, C).
        h1, h2: (N, K, H, W), the state before the first frame.
        coefficients: (K, 7), columns b0, b1, b2, a1, a2, s1, s2.
        status: int (N, T), flags. None: every frame is usable and none is a start.
    Returns: float64 y (N * T, C, H, W), and h1, h2 after the last frame.
    """
    x, weight, h1, h2 = (np.asarray(each, np.float64) for each in (x, weight, h1, h2))
    n, k = h1.shape[:2]
    t = len(x) // n
    flags = np.zeros((n, t), np.int32) if status is None else status
    compressed = np.einsum("kc,mchw->mkhw", weight, x, optimize=True).reshape(n, t, *h1.shape[1:])
    filtered = np.empty_like(compressed)
    rows, starts = np.asarray(coefficients, np.float64)[:, :5], np.asarray(coefficients, np.float64)[:, 5:]
    s1, s2 = starts.T[:, :, None, None]
    for i in range(t):
        usable = ((flags[:, i] & NOT_SCORED) == 0)[:, None, None, None]
        start = ((flags[:, i] & Status.RELOCATED) != 0)[:, None, None, None]
        h1, h2 = np.where(start, s1 * compressed[:, i], h1), np.where(start, s2 * compressed[:, i], h2)
        filtered[:, i], new1, new2 = _frame(compressed[:, i], h1, h2, rows)
        h1, h2 = np.where(usable, new1, h1), np.where(usable, new2, h2)
    with np.errstate(over="ignore"):  # an overflow of exp gives the right gate, 0
        gate = 1.0 / (1.0 + np.exp(-filtered.reshape(n * t, k, *h1.shape[2:])))
    return x * np.repeat(gate, x.shape[1] // k, axis=1), h1, h2


def _frame(x: Array, h1: Array, h2: Array, coefficients: Array) -> tuple[Array, Array, Array]:
    b0, b1, b2, a1, a2 = np.asarray(coefficients, np.float64).T[:, :, None, None]
    y = b0 * x + h1
    return y, b1 * x + h2 - a1 * y, b2 * x - a2 * y
