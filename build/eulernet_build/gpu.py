# SPDX-License-Identifier: Apache-2.0
"""Describes this machine's NVIDIA GPU. Calls the driver's library, so needs no other package."""

import ctypes
from dataclasses import dataclass

from eulernet_serving.gpu_presence import DRIVER_LIBRARY

# CUdevice_attribute of cuda.h
MULTIPROCESSORS, L2_CACHE_BYTES, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 38, 75, 76


class NoGpuError(Exception):
    """No usable NVIDIA GPU; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Gpu:
    """`capability`: compute capability, such as "9.0"; `cuda`: newest CUDA version of the driver, such as "13.0"."""

    name: str
    capability: str
    cuda: str
    memory_bytes: int
    l2_bytes: int
    multiprocessors: int


def find_gpu(index: int = 0) -> Gpu:
    """The GPU with CUDA's number `index` (after CUDA_VISIBLE_DEVICES). Raises: NoGpuError."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        raise NoGpuError(
            f"no NVIDIA GPU: the driver's library {DRIVER_LIBRARY} is not found; "
            "run this on a GPU machine, in a container with `docker run --gpus all`"
        ) from None
    _call(driver, "cuInit", 0)
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= index < count.value:
        raise NoGpuError(f"no GPU {index}: CUDA finds {count.value}; check nvidia-smi and CUDA_VISIBLE_DEVICES")
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(driver, "cuDeviceGetName", name, len(name), device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    values = {}
    for attribute in (MULTIPROCESSORS, L2_CACHE_BYTES, CAPABILITY_MAJOR, CAPABILITY_MINOR):
        value = ctypes.c_int()
        _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        values[attribute] = value.value
    return Gpu(
        name=name.value.decode(),
        capability=f"{values[CAPABILITY_MAJOR]}.{values[CAPABILITY_MINOR]}",
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        memory_bytes=memory.value,
        l2_bytes=values[L2_CACHE_BYTES],
        multiprocessors=values[MULTIPROCESSORS],
    )


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(driver, function)(*arguments)
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else "no description"
        raise NoGpuError(f"no usable NVIDIA GPU: {function} returns {status} ({reason}); check nvidia-smi")
