# SPDX-License-Identifier: Apache-2.0
"""Runs compute-sanitizer on small cases: invalid memory accesses, races, uninitialised reads, invalid barriers.

As a program this module runs the cases under the sanitizer and compares nothing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from eulernet_build.gpu_check.cases import Case, checked_cases, inputs
from eulernet_build.gpu_check.judge import FAIL, PASS, SKIPPED, Row

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/compute-sanitizer")
ERROR_STATUS = 77
TIMEOUT_S = 600
FRAMES_AT_MOST = 16  # the sanitizer slows kernels down by a factor of hundreds


def find() -> str | None:
    """Path of compute-sanitizer, None if it is not installed."""
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))


def watched_cases() -> list[Case]:
    """The small cases among the checked ones."""
    return [case for case in checked_cases() if case.n * case.t <= FRAMES_AT_MOST]


def check(library: Path) -> Iterator[Row]:
    """Yields one row per tool, or one `skipped` row without compute-sanitizer."""
    program = find()
    if program is None:
        reason = "compute-sanitizer not found: apt-get install cuda-sanitizer-13-0 (part of the CUDA toolkit)"
        yield Row("sanitizer", ", ".join(TOOLS), SKIPPED, reason, {})
        return
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", str(ERROR_STATUS), "--print-limit", "10"]
        command += [sys.executable, "-m", "eulernet_build.gpu_check.sanitizer", str(library)]
        # torch's caching allocator splits large blocks, which would hide a write beyond the end of a tensor.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            yield Row("sanitizer", tool, FAIL, f"not finished after {TIMEOUT_S} s", {})
        else:
            yield judge(tool, done.returncode, done.stdout + done.stderr)


def judge(tool: str, status: int, output: str) -> Row:
    """The row of one run of the sanitizer. A run without a summary has failed, whatever its exit status."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    summary = next((line for line in reversed(lines) if "SUMMARY" in line), "no summary")
    if status == 0:
        return Row("sanitizer", tool, PASS if "SUMMARY" in summary else FAIL, summary, {"status": status})
    return Row("sanitizer", tool, FAIL, summary, {"status": status, "output": "\n".join(lines[-40:])})


def main(library: Path) -> None:
    """Runs the small cases."""
    import torch

    from eulernet_build.gpu_check.correctness import blank_outputs
    from eulernet_build.gpu_check.kernels import Kernels
    from eulernet_build.gpu_check.plain import tensors

    kernels = Kernels(library)
    for case in watched_cases():
        given = tensors(case, inputs(case), "cuda")
        kernels.run(case, given, blank_outputs(given), torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
