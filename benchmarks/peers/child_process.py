# SPDX-License-Identifier: Apache-2.0
"""Starts a Python module of this package as a server process and stops it with all its children."""

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
from pathlib import Path

from benchmarks.peers.errors import BenchError
from eulernet_serving.child_launcher import launched
from eulernet_serving.embedded_server import HOST

EXIT_TIMEOUT_S = 5.0
POLL_S = 0.1
LOG_LINES = 15


def free_port() -> int:
    """A free TCP port on loopback."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


class Child:
    """A running module. Made by `started`."""

    def __init__(self, process: subprocess.Popen[str], name: str, log: Path) -> None:
        self.process, self._name, self._log = process, name, log

    @property
    def pid(self) -> int:
        """Of the topmost process."""
        return self.process.pid

    def check_running(self) -> None:
        """Raises: BenchError with the end of the log if the process has ended."""
        status = self.process.poll()
        if status is not None:
            with self._log.open(errors="replace") as log:
                tail = "".join(deque(log, LOG_LINES)).rstrip()
            raise BenchError(f"{self._name} ended with status {status}; the end of {self._log}:\n{tail}")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Polls `ready` until it is true. Raises: BenchError if the process ends before, or after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            self.check_running()
            if time.monotonic() > deadline_s:
                raise BenchError(f"{self._name}: not ready after {timeout_s:g} s; see {self._log}")
            time.sleep(POLL_S)


@contextlib.contextmanager
def started(module: str, arguments: Sequence[str], log: Path, python: Path | None = None) -> Iterator[Child]:
    """Runs `python -m module` inside the block, with pipes to its standard input and output.

    Args:
        log: file for its standard error.
        python: the interpreter; this program's by default.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            launched([str(python or sys.executable), "-m", module, *arguments], private=False),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C must reach this program only
        )
        try:
            yield Child(process, module, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Terminates the process, then kills its whole session."""
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
