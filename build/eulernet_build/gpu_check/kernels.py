# SPDX-License-Identifier: Apache-2.0
"""Calls libeulernet_kernels.so (`plugins/diirf/kernels_c.h`) on torch's device tensors."""

from pathlib import Path
from typing import TYPE_CHECKING

from eulernet_build.gpu_check.cases import Case
from eulernet_serving.kernel_library import KERNEL_LIBRARY, SIGNATURES, KernelError, KernelLibrary

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "SIGNATURES", "KernelError", "Kernels", "arguments"]

LIBRARY = Path("out/plugins") / KERNEL_LIBRARY  # in the clone
DTYPE_CODES = {"fp32": 0, "fp16": 1, "bf16": 2}


class Kernels(KernelLibrary):
    """The loaded library. Raises: KernelError if it can't be loaded."""

    def run(self, case: Case, given: "dict[str, Tensor]", outputs: "dict[str, Tensor]", stream: int = 0) -> None:
        """Enqueues one case; parameters as in `arguments`. Raises: KernelError if the call does not return 0."""
        name, values = arguments(case, given, outputs, stream)
        self.call(name, *values)


def arguments(
    case: Case, given: "dict[str, Tensor]", outputs: "dict[str, Tensor]", stream: int
) -> tuple[str, list[int | None]]:
    """Name and arguments of the function that computes a case; pointers as addresses.

    Args:
        case: sizes, type and layout.
        given: device tensors x, h1, h2, coefficients; for DIIRFGate also weight and optionally status.
        outputs: device tensors y, h1_out, h2_out, which the call fills.
        stream: a cudaStream_t.
    """
    into = [outputs[name].data_ptr() for name in ("y", "h1_out", "h2_out")]
    x, *state = (given[name].data_ptr() for name in ("x", "h1", "h2", "coefficients"))
    code = DTYPE_CODES[case.dtype]
    if case.op == "DIIRF":
        return "eulernet_diirf", [x, *state, *into, case.n, case.t, case.k, case.h, case.w, code, stream]
    status = given["status"].data_ptr() if "status" in given else None
    sizes = [case.n, case.t, case.c, case.k, case.h, case.w]
    layout = int(case.channels_last)
    return "eulernet_diirf_gate", [x, given["weight"].data_ptr(), *state, status, *into, *sizes, code, layout, stream]
