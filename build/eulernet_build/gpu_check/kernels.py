# SPDX-License-Identifier: Apache-2.0
"""Calls libeulernet_kernels.so (`plugins/diirf/kernels_c.h`) on torch's device tensors."""

import ctypes
from ctypes import c_char_p, c_int, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

from eulernet_build.gpu_check.cases import Case

if TYPE_CHECKING:
    from torch import Tensor

LIBRARY = Path("out/plugins/libeulernet_kernels.so")  # in the clone
DTYPE_CODES = {"fp32": 0, "fp16": 1, "bf16": 2}
# Pointers, then sizes and flags, then the stream, in the header's order; a test compares them with the header.
SIGNATURES = {
    "eulernet_diirf": [c_void_p] * 7 + [c_int] * 6 + [c_void_p],
    "eulernet_diirf_gate": [c_void_p] * 9 + [c_int] * 8 + [c_void_p],
}


class KernelError(Exception):
    """The library can't be loaded, or it refused a call; the message contains its error."""


class Kernels:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        """Raises: KernelError if the library can't be loaded."""
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise KernelError(f"{path}: can't be loaded ({error}); build it with make plugin") from None
        for name, kinds in SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = kinds, c_int
        self._library.eulernet_error_string.argtypes = [c_int]
        self._library.eulernet_error_string.restype = c_char_p

    def error_string(self, code: int) -> str:
        """Text of a return value."""
        text: bytes = self._library.eulernet_error_string(code)
        return text.decode()

    def run(self, case: Case, given: "dict[str, Tensor]", outputs: "dict[str, Tensor]", stream: int = 0) -> None:
        """Enqueues one case; parameters as in `arguments`. Raises: KernelError if the call does not return 0."""
        name, values = arguments(case, given, outputs, stream)
        code = getattr(self._library, name)(*values)
        if code:
            raise KernelError(f"{name}: {self.error_string(code)}")


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
