# SPDX-License-Identifier: Apache-2.0
"""Whether `eulernet serve --gpu` can run here, and the switch that puts the CPU in the GPU's place for tests.

Imports no torch: the supervisor needs this before any stage starts.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from importlib import metadata

DEVICE_VARIABLE = "EULERNET_GPU_DEVICE"
DEVICES = CUDA, CPU = "cuda", "cpu"
DRIVER_LIBRARY = "libcuda.so.1"
CHOSEN = "chosen: "  # begins the lines of the log that say what a stage chose at its start


class GpuMissingError(Exception):
    """The GPU configuration can't run on this machine; the message gives the reason and the remedy."""


def device_kind() -> str:
    """`cuda`, or `cpu` where the switch says so. Raises: GpuMissingError for any other value."""
    kind = os.environ.get(DEVICE_VARIABLE, CUDA)
    if kind not in DEVICES:
        raise GpuMissingError(f"{DEVICE_VARIABLE}={kind!r}: choose one of {', '.join(DEVICES)}")
    return kind


def check_dali() -> None:
    """Raises: GpuMissingError without DALI, which crops on a GPU."""
    try:
        found = importlib.util.find_spec("nvidia.dali")
    except ModuleNotFoundError:  # no package of NVIDIA's at all
        found = None
    if found is None:
        raise GpuMissingError("DALI is not installed, and the GPU configurations need it: pip install 'eulernet[gpu]'")


def check_gpu() -> None:
    """Raises: GpuMissingError without a driver, a GPU, DALI, or a build of torch that fits."""
    kind = device_kind()
    check_dali()
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise GpuMissingError("torch is not installed, and serve --gpu needs it: pip install torch") from None
    if kind == CPU:
        return
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        raise GpuMissingError(
            f"no NVIDIA GPU: the driver's library {DRIVER_LIBRARY} is not found; leave --gpu out to serve on the CPU"
        ) from None
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        raise GpuMissingError(f"no usable NVIDIA GPU (driver's status {status}); check nvidia-smi")
    if torch.endswith("+cpu"):
        raise GpuMissingError(f"torch {torch} has no CUDA: pip install --force-reinstall torch from the package index")
