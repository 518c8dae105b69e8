# SPDX-License-Identifier: Apache-2.0
"""The filters of a graph in this project's CUDA kernels, as operators of `TorchGraph`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eulernet_serving.gpu_pip.torch_operators import Operator
from eulernet_serving.kernel_library import KernelLibrary

DTYPE_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # EULERNET_FP32, … of kernels_c.h


class FilterKernels:
    """The two operators over device tensors, enqueued on torch's current stream.

    Raises: KernelError if the library can't be loaded, or refuses a call.
    """

    def __init__(self, library: Path) -> None:
        self._library = KernelLibrary(library)

    def operators(self) -> dict[str, Operator]:
        """For the graph's nodes."""
        return {"DIIRF": self._diirf, "DIIRFGate": self._gate}

    def _diirf(self, attributes: Mapping[str, Any], *given: Tensor) -> tuple[Tensor, ...]:
        x, h1, h2, coefficients = (each.contiguous() for each in given)
        made = torch.empty_like(x), torch.empty_like(h1), torch.empty_like(h2)
        pointers = [each.data_ptr() for each in (x, h1, h2, coefficients, *made)]
        self._library.call("eulernet_diirf", *pointers, *x.shape, DTYPE_CODES[x.dtype], _stream())
        return made

    def _gate(self, attributes: Mapping[str, Any], *given: Tensor) -> tuple[Tensor, ...]:
        x, weight, h1, h2, coefficients, status = (each.contiguous() for each in given)
        made = torch.empty_like(x), torch.empty_like(h1), torch.empty_like(h2)
        pointers = [each.data_ptr() for each in (x, weight, h1, h2, coefficients, status, *made)]
        sizes = [*status.shape, x.shape[1], *h1.shape[1:]]  # n, t, c, k, h, w
        self._library.call("eulernet_diirf_gate", *pointers, *sizes, DTYPE_CODES[x.dtype], 0, _stream())
        return made


def _stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)
