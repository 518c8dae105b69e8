# SPDX-License-Identifier: Apache-2.0
"""The criteria for a kernel's errors and speed, as pure functions.

The error of a kernel may be at most twice the error of plain torch at the same precision, both against float64 (as in
flash-attention's tests). A NaN or an infinity fails before errors are compared.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FACTOR = 2.0
# Allowed in addition: one rounding of the largest value, because plain torch may be exact by chance in a small case.
EPSILON = {"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8}
PASS, FAIL, SKIPPED = "pass", "fail", "skipped"

COPY_SHARE, OVER_EAGER, OVER_COMPILED = 0.85, 3.0, 1.5


@dataclass(frozen=True)
class Row:
    """One line of the report. `figure`: the measurement as text; `values`: its numbers."""

    part: str
    name: str
    outcome: str
    figure: str
    values: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return asdict(self)


def judge_case(
    name: str, got: Mapping[str, Array], plain: Mapping[str, Array], reference: Mapping[str, Array], dtype: str
) -> Row:
    """Compares a kernel's outputs with the reference.

    Args:
        name: of the case.
        got: the kernel's outputs by name; `y` has the type `dtype`, states are fp32.
        plain: outputs of plain torch at that precision.
        reference: outputs in float64.
        dtype: fp32, fp16 or bf16.
    """
    figures: list[tuple[float, str]] = []
    values: dict[str, Any] = {}
    for output, want in reference.items():
        wrong = _wrong(got.get(output), want) or _wrong(plain[output], want, "plain torch's output: ")
        if wrong:
            return Row("kernels", name, FAIL, f"{output}: {wrong}", {})
        error, plain_error = _error(got[output], want), _error(plain[output], want)
        rounding = EPSILON[dtype if output == "y" else "fp32"] * float(np.abs(want).max())
        allowed = FACTOR * plain_error + rounding
        values[output] = {"error": error, "plain_error": plain_error, "allowed": allowed}
        excess = error / allowed if allowed else float(error > 0)
        figures.append((excess, f"{output}: error {error:.1e}, plain {plain_error:.1e}, allowed {allowed:.1e}"))
    excess, figure = max(figures)
    return Row("kernels", name, PASS if excess <= 1.0 else FAIL, figure, values)


def _wrong(got: Array | None, want: Array, whose: str = "") -> str:
    """Describes a missing output, a wrong shape, a NaN or an infinity; empty if there is none."""
    if got is None:
        return f"{whose}missing"
    if got.shape != want.shape:
        return f"{whose}shape {got.shape}, expected {want.shape}"
    bad = int(np.count_nonzero(~np.isfinite(got)))
    return f"{whose}{bad} of {got.size} values are NaN or infinite" if bad else ""


def _error(got: Array, want: Array) -> float:
    return float(np.abs(got.astype(np.float64) - want).max(initial=0.0))


@dataclass(frozen=True)
class Timing:
    """Seconds per call, and the GPU's bandwidth when it copies."""

    kernel_s: float
    eager_s: float
    compiled_s: float
    traffic_bytes: int
    copy_bytes_per_s: float

    @property
    def bytes_per_s(self) -> float:
        """The kernel's bandwidth."""
        return self.traffic_bytes / self.kernel_s

    @property
    def copy_share(self) -> float:
        """The kernel's bandwidth in units of the copy's."""
        return self.bytes_per_s / self.copy_bytes_per_s


def judge_timing(name: str, timing: Timing, full: bool) -> Row:
    """Compares a timing with the targets if the batch is full; reports smaller batches without judging them."""
    over_eager, over_compiled = timing.eager_s / timing.kernel_s, timing.compiled_s / timing.kernel_s
    missed = [
        f"{what} {value:.2f} < {target:g}"
        for what, value, target in (
            ("share of copy", timing.copy_share, COPY_SHARE),
            ("times eager", over_eager, OVER_EAGER),
            ("times compiled", over_compiled, OVER_COMPILED),
        )
        if full and not value >= target
    ]
    figure = (
        f"{timing.kernel_s * 1e6:.1f} us, {timing.bytes_per_s / 1e9:.0f} GB/s = {timing.copy_share:.0%} of copy, "
        f"{over_eager:.1f}x eager, {over_compiled:.1f}x compiled"
    )
    values = {**asdict(timing), "copy_share": timing.copy_share, "x_eager": over_eager, "x_compiled": over_compiled}
    return Row("speed", name, FAIL if missed else PASS, "; ".join([figure, *missed]), values)
