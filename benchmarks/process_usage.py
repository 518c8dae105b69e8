# SPDX-License-Identifier: Apache-2.0
"""Processor time and memory of a server's processes and of the machine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil

from eulernet_serving.embedded_server import EmbeddedServer


@dataclass(frozen=True)
class Memory:
    """Memory of several processes. Shared pages count once for each process in `rss_bytes`, once in `pss_bytes`."""

    rss_bytes: int
    pss_bytes: int


class Tree:
    """A process and its present descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    @classmethod
    def of_server(cls, server: EmbeddedServer) -> Tree:
        """A running server and its stub processes."""
        port = f"--grpc-port={server.ports.grpc}"
        (parent,) = (each for each in psutil.Process().children() if port in each.cmdline())
        return cls(parent.pid)

    def _all(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time of all processes so far."""
        total = 0.0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Resident memory now."""
        total = 0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += int(each.memory_info().rss)
        return total

    def memory(self) -> Memory:
        """Both values now; the kernel needs some milliseconds for PSS."""
        total = 0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += int(each.memory_full_info().pss)
        return Memory(self.rss_bytes(), total)


def machine_cpu_s() -> float:
    """Processor time of all programs on the cores that this program may use."""
    cores = psutil.cpu_times(percpu=True)
    ours = [cores[number] for number in os.sched_getaffinity(0) if number < len(cores)]
    return float(sum(each.user + each.nice + each.system + each.irq + each.softirq + each.steal for each in ours))
