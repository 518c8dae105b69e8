# SPDX-License-Identifier: Apache-2.0
"""Memory, descriptors and threads of processes, shared memory and temporary files, each second; and their growth."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

INTERVAL_S = 1.0
ALLOWED_GROWTH = 0.05
MEMORY, DESCRIPTORS, THREADS = "memory", "descriptors", "threads"
SHARED_MEMORY, TEMPORARY_FILES = "shared memory", "temporary files"
# A leak raises a value's low, middle and high levels. An allocator that keeps freed blocks for a while moves a process
# between a few levels, which changes a median alone.
LEVELS = (10, 50, 90)  # percentiles of a window
# A growth is counted from this much on: one thread more of ten is no leak. Bytes, or a number.
LEAST_GROWTH = {MEMORY: 2 << 20, DESCRIPTORS: 3, THREADS: 3, SHARED_MEMORY: 1 << 20, TEMPORARY_FILES: 1}
Sample = tuple[float, Mapping[str, float]]  # seconds since the start, and "PROCESS WHAT" to its value


@dataclass(frozen=True)
class Growth:
    """One value in two windows: the one of LEVELS that grew least.

    share: of the first; leak: over ALLOWED_GROWTH and LEAST_GROWTH.
    """

    name: str
    first: float
    last: float
    share: float
    leak: bool


class Sampler:
    """Samples on a thread from `__enter__` to `__exit__`.

    Args:
        processes: the processes by name, asked for each time: a restart changes them.
        shared_memory: its files.
        folder: with the temporary files.
    """

    def __init__(
        self,
        processes: Callable[[], Mapping[str, psutil.Process]],
        shared_memory: Callable[[], Sequence[Path]],
        folder: Path,
    ) -> None:
        self._processes, self._shared_memory, self._folder = processes, shared_memory, folder
        self.samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._begun_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self.samples.append((time.monotonic() - self._begun_s, self._sample()))

    def _sample(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, process in self._processes().items():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info().uss  # shared memory is counted once, below
                found[f"{name} {MEMORY}"] = float(memory)
                found[f"{name} {DESCRIPTORS}"] = float(process.num_fds())
                found[f"{name} {THREADS}"] = float(process.num_threads())
        found[SHARED_MEMORY] = float(sum(_allocated(each) for each in self._shared_memory()))
        found[TEMPORARY_FILES] = float(sum(1 for _ in self._folder.rglob("*")))
        return found


def _allocated(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


def growth(samples: Sequence[Sample], name: str, first: tuple[float, float], last: tuple[float, float]) -> Growth:
    """Compares a value in two windows of seconds since the start. Raises: ValueError for a window without samples."""
    levels = zip(_levels(samples, name, first), _levels(samples, name, last), strict=True)
    share, before, after = min((_share(before, after), before, after) for before, after in levels)
    what = next(each for each in LEAST_GROWTH if name.endswith(each))
    return Growth(name, before, after, share, share > ALLOWED_GROWTH and after - before >= LEAST_GROWTH[what])


def _share(before: float, after: float) -> float:
    return (after - before) / before if before else float(after > 0)


def _levels(samples: Sequence[Sample], name: str, window: tuple[float, float]) -> list[float]:
    found = [values[name] for at_s, values in samples if window[0] <= at_s < window[1] and name in values]
    if not found:
        raise ValueError(f"{name}: no samples between {window[0]:.0f} and {window[1]:.0f} s; measure for longer")
    return [float(each) for each in np.percentile(found, LEVELS)]
