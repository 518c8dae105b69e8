# SPDX-License-Identifier: Apache-2.0
"""The Python side of libeulernet_kernels.so: its calls match the C header, and errors carry CUDA's names."""

import ctypes
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet_build.gpu_check import cases, correctness, kernels, plain
from eulernet_build.gpu_check.cases import Case
from eulernet_build.gpu_check.gpu_check_command import gpu_check

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "plugins" / "diirf" / "kernels_c.h"
LIBRARY = ROOT / kernels.LIBRARY
GATE = Case("DIIRFGate", 2, 3, 12, 4, 5, 7)
FILTER = Case("DIIRF", 2, 5, 0, 3, 3, 5)

built = pytest.mark.skipif(not LIBRARY.is_file(), reason=f"{LIBRARY} is not built (make plugin)")


def declarations() -> str:
    """The header without comments."""
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)


def test_signatures_equal_the_header():
    text = declarations()
    declared = dict(re.findall(r"int (eulernet_\w+)\(([^)]*)\)", text))
    assert set(declared) == set(kernels.SIGNATURES)
    for name, arguments in declared.items():
        kinds = [ctypes.c_void_p if "*" in argument else ctypes.c_int for argument in arguments.split(",")]
        assert kinds == kernels.SIGNATURES[name], name
    codes = dict(re.findall(r"#define EULERNET_(\w+) (\d)", text))
    assert {name.lower(): int(code) for name, code in codes.items()} == kernels.DTYPE_CODES


def test_arguments_have_the_headers_order():
    text = declarations()
    for case in (GATE, replace(GATE, channels_last=True, dtype="bf16"), replace(GATE, status=False), FILTER):
        given = plain.tensors(case, cases.inputs(case), "cpu")
        outputs = correctness.blank_outputs(given)
        name, arguments = kernels.arguments(case, given, outputs, stream=7)
        (parameters,) = re.findall(rf"int {name}\(([^)]*)\)", text)
        names = [parameter.split()[-1].lstrip("*") for parameter in parameters.split(",")]
        called = dict(zip(names, arguments, strict=True))
        pointers = {key: value.data_ptr() for key, value in {**given, **outputs}.items()}
        sizes = {key: getattr(case, key) for key in "ntckhw" if key in called}
        expected = {**pointers, **sizes, "dtype": kernels.DTYPE_CODES[case.dtype], "stream": 7}
        if case.op == "DIIRFGate":
            expected |= {"channels_last": int(case.channels_last), "status": pointers.get("status")}
        assert called == expected


def test_a_missing_library_is_named():
    with pytest.raises(kernels.KernelError, match=r"/nowhere/lib\.so.*make plugin"):
        kernels.Kernels(Path("/nowhere/lib.so"))


@built
def test_the_built_library_reports_a_missing_gpu(no_gpu):
    """In a subprocess, because CUDA caches the result of its initialisation."""
    script = (
        "from eulernet_build.gpu_check import cases, correctness, kernels, plain\n"
        f"library = kernels.Kernels(kernels.Path({str(LIBRARY)!r}))\n"
        "assert library.error_string(1).startswith('cudaErrorInvalidValue'), library.error_string(1)\n"
        "case = cases.Case('DIIRFGate', 1, 1, 8, 4, 5, 7)\n"
        "given = plain.tensors(case, cases.inputs(case), 'cpu')\n"
        "for wanted in (case, kernels.Case('DIIRFGate', 1, 1, 7, 4, 5, 7)):\n"
        "    try:\n"
        "        library.run(wanted, given, correctness.blank_outputs(given))\n"
        "    except kernels.KernelError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    no_gpu, bad_shape = done.stdout.splitlines()
    assert re.match(r"eulernet_diirf_gate: cudaError(NoDevice|InsufficientDriver)", no_gpu)
    assert bad_shape.startswith("eulernet_diirf_gate: cudaErrorInvalidValue")


@pytest.mark.gpu
@built
def test_on_a_gpu_the_kernels_pass(gpu, tmp_path):
    path = tmp_path / "gpu.json"
    result = CliRunner().invoke(gpu_check, ["--json", str(path), "--skip", "speed", "--skip", "engines"])
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["failed"] is False
