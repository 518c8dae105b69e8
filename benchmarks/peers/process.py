"""A server's process: started, watched from outside, and ended with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from eulernet_build.server import HOST, die_with_parent

from benchmarks.peers.errors import BenchError

EXIT_TIMEOUT_S = 5.0
POLL_S = 0.1
LOG_LINES = 15


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Memory:
    """Of all processes together. `rss_bytes` counts what they share once for each of them, `pss_bytes` once in all."""

    rss_bytes: int
    pss_bytes: int


class Tree:
    """A process and its descendants, as they are when asked."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def _all(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time of all of them so far."""
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
        """Both figures now; the second one takes the kernel some milliseconds."""
        total = 0
        for each in self._all():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += int(each.memory_full_info().pss)
        return Memory(self.rss_bytes(), total)


def machine_cpu_s() -> float:
    """Processor time that the machine has spent on anything, on the cores that this program may use."""
    cores = psutil.cpu_times(percpu=True)
    ours = [cores[number] for number in os.sched_getaffinity(0) if number < len(cores)]
    return float(sum(each.user + each.nice + each.system + each.irq + each.softirq + each.steal for each in ours))


class Child:
    """A Python module of this package running as a server. Made by `started`."""

    def __init__(self, process: subprocess.Popen[str], name: str, log: Path) -> None:
        self.process, self._name, self._log = process, name, log

    @property
    def pid(self) -> int:
        """Of the topmost process."""
        return self.process.pid

    def check_running(self) -> None:
        """Raises: BenchError with the end of the log where it has ended."""
        status = self.process.poll()
        if status is not None:
            with self._log.open(errors="replace") as log:
                tail = "".join(deque(log, LOG_LINES)).rstrip()
            raise BenchError(f"{self._name} ended with status {status}; the end of {self._log}:\n{tail}")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Asks `ready` until it says yes. Raises: BenchError where the process ends before, or time runs out."""
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            self.check_running()
            if time.monotonic() > deadline_s:
                raise BenchError(f"{self._name}: not ready after {timeout_s:g} s; see {self._log}")
            time.sleep(POLL_S)


@contextlib.contextmanager
def started(module: str, arguments: Sequence[str], log: Path) -> Iterator[Child]:
    """Runs `python -m module` with pipes to its standard input and output for as long as the block lasts.

    What it prints as errors goes to `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C must reach this program only
            preexec_fn=die_with_parent,
        )
        try:
            yield Child(process, module, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Asks the process to go; then its whole session is made to."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(EXIT_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
