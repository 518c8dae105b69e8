# SPDX-License-Identifier: Apache-2.0
"""The two ops in plain PyTorch: the baseline for errors at each precision, and for speed.

Activations have x's type, as under autocast; the filter's state and coefficients are float32, as in the ops.
"""

import torch
from torch import Tensor
from torch.nn import functional

from eulernet_build.gpu_check.cases import Case, Tensors
from eulernet_core.status import NOT_SCORED, Status

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RELOCATED, UNUSABLE = int(Status.RELOCATED), int(NOT_SCORED)


def diirf(x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, T, K, H, W), h1 and h2 (N, K, H, W), coefficients (K, 5) -> y of x's type, h1, h2 after the last frame."""
    outputs = []
    for frame in x.unbind(dim=1):
        y, h1, h2 = _frame(frame, h1, h2, coefficients)
        outputs.append(y)
    return torch.stack(outputs, dim=1).to(x.dtype), h1, h2


def diirf_gate(
    x: Tensor, weight: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor, status: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """FCAM in operators that torch.compile fuses.

    x (N * T, C, H, W), weight (K, C), h1 and h2 (N, K, H, W), coefficients (K, 7), status (N, T) or None -> y like x,
    and h1, h2 after the last frame.
    """
    n, k, height, width = h1.shape
    c = x.shape[1]
    compressed = functional.conv2d(x, weight.to(x.dtype)[:, :, None, None]).reshape(n, -1, k, height, width)
    rows, starts = coefficients[:, :5], coefficients[:, 5:]
    s1, s2 = starts[:, :, None, None].unbind(dim=1)
    outputs = []
    for t, frame in enumerate(compressed.unbind(dim=1)):
        if status is None:
            y, h1, h2 = _frame(frame, h1, h2, rows)
        else:
            flag = status[:, t, None, None, None]
            usable, start = (flag & UNUSABLE) == 0, (flag & RELOCATED) != 0
            h1, h2 = torch.where(start, s1 * frame, h1), torch.where(start, s2 * frame, h2)
            y, new1, new2 = _frame(frame, h1, h2, rows)
            h1, h2 = torch.where(usable, new1, h1), torch.where(usable, new2, h2)
        outputs.append(y)
    gate = torch.sigmoid(torch.stack(outputs, dim=1).reshape(-1, k, height, width)).to(x.dtype)
    return x * gate.repeat_interleave(c // k, dim=1), h1, h2


def _frame(x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b0, b1, b2, a1, a2 = coefficients[:, :, None, None].unbind(dim=1)
    y = b0 * x + h1
    return y, b1 * x + h2 - a1 * y, b2 * x - a2 * y


def tensors(case: Case, made: Tensors, device: str) -> dict[str, Tensor]:
    """A case's inputs as tensors with the types and the layout of the ops."""
    result = {name: torch.from_numpy(value).to(device) for name, value in made.items()}
    result = {name: value if name == "status" else value.float() for name, value in result.items()}
    result["x"] = result["x"].to(DTYPES[case.dtype])
    if case.channels_last:
        result["x"] = result["x"].contiguous(memory_format=torch.channels_last)
    return result


def run_plain(case: Case, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs y, h1_out and h2_out."""
    state = given["h1"], given["h2"], given["coefficients"]
    if case.op == "DIIRF":
        outputs = diirf(given["x"], *state)
    else:
        outputs = diirf_gate(given["x"], given["weight"], *state, given.get("status"))
    return dict(zip(("y", "h1_out", "h2_out"), outputs, strict=True))
