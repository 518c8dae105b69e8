"""This machine's NVIDIA GPU, asked for through the driver's own library, so that nothing else need be installed."""

import ctypes
from dataclasses import dataclass

DRIVER_LIBRARY = "libcuda.so.1"
# CUdevice_attribute of cuda.h
MULTIPROCESSORS, L2_CACHE_BYTES, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 38, 75, 76


class NoGpuError(Exception):
    """There is no usable NVIDIA GPU; the message says why and what to do."""


@dataclass(frozen=True)
class Gpu:
    """`capability`: compute capability, such as "9.0"; `cuda`: newest CUDA that the driver runs, such as "13.0"."""

    name: str
    capability: str
    cuda: str
    memory_bytes: int
    l2_bytes: int
    multiprocessors: int

    @property
    def architecture(self) -> str:
        """`sm90` for 9.0."""
        return architecture(self.capability)


def architecture(capability: str) -> str:
    """Compute capability "9.0" to `sm90`, "12.0" to `sm120`."""
    return f"sm{capability.replace('.', '')}"


def find_gpu(index: int = 0) -> Gpu:
    """The GPU that CUDA would number `index` (CUDA_VISIBLE_DEVICES counts). Raises: NoGpuError."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        raise NoGpuError(
            f"no NVIDIA GPU here: {DRIVER_LIBRARY}, which the driver brings, is not found; "
            "run this on a GPU machine, in a container with `docker run --gpus all`"
        ) from None
    _call(driver, "cuInit", 0)
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= index < count.value:
        raise NoGpuError(f"GPU {index}: this machine shows {count.value}; look at nvidia-smi and CUDA_VISIBLE_DEVICES")
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
        raise NoGpuError(f"no usable NVIDIA GPU: {function} answers {status} ({reason}); look at nvidia-smi")
