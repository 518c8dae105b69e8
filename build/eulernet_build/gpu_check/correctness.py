# SPDX-License-Identifier: Apache-2.0
"""Runs an implementation on cases and compares its outputs with the float64 reference."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from eulernet_build.gpu_check import reference
from eulernet_build.gpu_check.cases import Case, Tensors, inputs
from eulernet_build.gpu_check.judge import FAIL, Row, judge_case
from eulernet_build.gpu_check.kernels import KernelError
from eulernet_build.gpu_check.plain import run_plain, tensors

# Called with a case, its inputs, and the outputs y, h1_out and h2_out to fill.
Implementation = Callable[[Case, dict[str, Tensor], dict[str, Tensor]], None]


def check_cases(implementation: Implementation, cases: Iterable[Case], device: str) -> Iterator[Row]:
    """Yields one row per case.

    Args:
        implementation: checked.
        cases: shapes and types.
        device: `cuda`, or `cpu` for an implementation on the CPU.
    """
    for case in cases:
        made = inputs(case)
        given = tensors(case, made, device)
        outputs = blank_outputs(given)
        try:
            implementation(case, given, outputs)
            got = on_host(outputs)
        except KernelError as error:
            yield Row("kernels", str(case), FAIL, str(error), {})
            continue
        with exact_float32():
            plain = on_host(run_plain(case, given))
        yield judge_case(str(case), got, plain, expected(case, made), case.dtype)


def expected(case: Case, made: Tensors) -> Tensors:
    """The reference's outputs y, h1_out and h2_out, float64."""
    state = made["h1"], made["h2"], made["coefficients"]
    if case.op == "DIIRF":
        outputs = reference.diirf(made["x"], *state)
    else:
        outputs = reference.diirf_gate(made["x"], made["weight"], *state, made.get("status"))
    return dict(zip(("y", "h1_out", "h2_out"), outputs, strict=True))


def blank_outputs(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs filled with NaN, which reveals values that the kernel does not write."""
    like = {"y": given["x"], "h1_out": given["h1"], "h2_out": given["h2"]}
    return {name: torch.full_like(tensor, float("nan")) for name, tensor in like.items()}


def on_host(outputs: dict[str, Tensor]) -> Tensors:
    """Copies outputs to float32 arrays, after the device has finished."""
    return {name: np.ascontiguousarray(tensor.float().cpu().numpy()) for name, tensor in outputs.items()}


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Disables TF32 in torch's float32 convolutions inside the block."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
