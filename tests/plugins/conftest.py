# SPDX-License-Identifier: Apache-2.0
"""Compiles the plugins' sources for the host, and finds CUDA and TensorRT on this machine."""

import ctypes
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.tensorrt_parts import PartMissingError, load_script
from tests.tensorrt_parts import cuda_include as find_cuda_include

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "plugins" / "diirf"
COMPILE_TIMEOUT_S = 800.0


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """plugins/diirf/build.py."""
    return load_script("build")


Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_cpp(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """`compile_cpp(source, out, includes, flags)` with g++, warnings as errors; shows the compiler's messages."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    folder = tmp_path_factory.mktemp("compiled")

    def run(source: str, out: str, includes: Sequence[Path] = (), flags: Sequence[str] = ()) -> Path:
        folders = [f"-I{PLUGIN}", *(part for each in includes for part in ("-isystem", str(each)))]
        command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *folders]
        command += ["-ffp-contract=off"]  # product() of biquad.cuh rounds, which only nvcc guarantees by itself
        command += [str(HERE / source), "-o", str(folder / out), *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        return folder / out

    return run


class Reference:
    """reference.h: DIIRF and DIIRFGate as plain loops, in double or in float."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def diirf(
        self, x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor, doubles: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: float32 (N, T, K, H, W). Returns y, h1_out, h2_out."""
        n, t, k, h, w = x.shape
        inputs = [each.contiguous() for each in (x, h1, h2, coefficients)]
        outputs = torch.empty_like(inputs[0]), torch.empty_like(h1), torch.empty_like(h2)
        pointers = [ctypes.c_void_p(each.data_ptr()) for each in (*inputs, *outputs)]
        self.library.reference_diirf(*pointers, n, t, k, h * w, int(doubles))
        return outputs

    def gate(
        self,
        x: Tensor,
        weight: Tensor,
        h1: Tensor,
        h2: Tensor,
        coefficients: Tensor,
        status: Tensor | None,
        channels_last: bool = False,
        doubles: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: float32 (N * T, C, H, W), or (N * T, H, W, C) with channels_last; coefficients: (K, 7).

        Returns y, h1_out, h2_out.
        """
        rows, c, h, w = x.permute(0, 3, 1, 2).shape if channels_last else x.shape
        n, k = h1.shape[:2]
        inputs = [each.contiguous() for each in (x, weight, h1, h2, coefficients)]
        outputs = torch.empty_like(inputs[0]), torch.empty_like(h1), torch.empty_like(h2)
        self.library.reference_diirf_gate(
            *(ctypes.c_void_p(each.data_ptr()) for each in inputs),
            ctypes.c_void_p(None if status is None else status.data_ptr()),
            *(ctypes.c_void_p(each.data_ptr()) for each in outputs),
            *(n, rows // n, c, k, h * w, int(channels_last), int(doubles)),
        )
        return outputs


@pytest.fixture(scope="session")
def reference(compile_cpp: Compile) -> Reference:
    """reference.h, compiled without CUDA's headers."""
    return Reference(compile_cpp("host_reference.cpp", "libreference.so", flags=("-shared", "-fPIC")))


@pytest.fixture(scope="session")
def cuda_include() -> Path:
    """Folder of CUDA's headers, nvcc's or downloaded; skips the test without."""
    try:
        return find_cuda_include()
    except PartMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def runtimes() -> dict[int, Path]:
    """TensorRT's libraries, full or lean, by major version, from pip, the system and unpacked archives."""
    places = [Path(each) for each in sysconfig.get_paths().values()]
    patterns = [(place, f"tensorrt{kind}_libs/libnvinfer{kind}.so.*") for place in places for kind in ("_lean", "")]
    patterns += [(Path("/usr/lib"), "*/libnvinfer*.so.*"), (Path("/opt"), "tensorrt*/**/libnvinfer_lean.so.*")]
    found = {}
    for place, pattern in patterns:
        for path in place.glob(pattern):
            if match := re.fullmatch(r"libnvinfer(?:_lean)?\.so\.(\d+)", path.name):
                found.setdefault(int(match[1]), path)
    return found
