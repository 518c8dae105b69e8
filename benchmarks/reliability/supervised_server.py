# SPDX-License-Identifier: Apache-2.0
"""`eulernet serve` as a user runs it, with its processes, its log and what it leaves behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.reliability.wire import Endpoints
from eulernet_serving.embedded_server import HOST
from eulernet_serving.process_watch import SERVER, STUB
from eulernet_serving.shared_memory import SHARED_MEMORY

READY_TIMEOUT_S, STOP_TIMEOUT_S = 180.0, 60.0
HEALTHY_S = 3  # then earlier restarts are forgotten, and the next one comes as soon as the first
SUPERVISOR = "supervisor"
_READY = re.compile(r"gRPC (\S+?),.*metrics (\d+), health (\d+)")
# Lines of the log that only a defect writes: crashes, exceptions that left a stage, lost states.
BAD_LINES = re.compile(
    r"Traceback|terminate called|Signal \(\d+\)|Segmentation|std::\w+|boost::|unexpected deadlock|"
    r"Failed to process the request|stub process|not healthy|restart \d+ of|died:|stopped: a signal"
)


class NotServingError(Exception):
    """The server did not start, or not again in time; the message has the end of its output."""


class SupervisedServer:
    """Runs from `__enter__` to `__exit__`.

    Args:
        repository: a complete model repository.
        folder: for its log and its output.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.log, self._output = folder / "server.log", folder / "serve.txt"
        self.survivors: list[str] = []  # processes that ran on after the supervisor's end
        self._stack = ExitStack()

    def __enter__(self) -> SupervisedServer:
        """Waits until it is ready. Raises: NotServingError."""
        with ExitStack() as stack:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-reliability-")))
            output = stack.enter_context(self._output.open("wb"))
            ports = ("--grpc-port=0", "--metrics-port=0", "--health-port=0")
            limits = ("--max-restarts=100", f"--healthy-s={HEALTHY_S}", "--drain-timeout-s=5")
            options = ("--repository", self.repository, "--log", self.log, *limits)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eulernet_core", "serve", *ports, *map(str, options)],
                env={**os.environ, "TMPDIR": str(self.scratch)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            stack.callback(self._stop)
            self.endpoints = self._wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def stop(self) -> int:
        """Stops it by SIGTERM. Returns: its exit status."""
        self._stop()
        return int(self.process.returncode)

    def _stop(self) -> None:
        if self.process.poll() is not None:
            return
        known = self.processes()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        for name, each in known.items():
            with contextlib.suppress(psutil.Error):
                if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                    self.survivors.append(name)
                    each.kill()
        self.process.wait()

    def _wait_ready(self) -> Endpoints:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            found = _READY.search(self._output.read_text(errors="replace"))
            if found:
                return Endpoints(found[1], int(found[2]), int(found[3]))
            time.sleep(0.1)
        raise NotServingError(self._output.read_text(errors="replace")[-2000:])

    def processes(self) -> dict[str, psutil.Process]:
        """The supervisor, tritonserver and each stage, by name."""
        found = {}
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self.process.pid)
            found[SUPERVISOR] = supervisor
            for each in supervisor.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if name := _name(each.cmdline()):
                        found[name] = each
        return found

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: each.pid for name, each in self.processes().items()}

    def ready(self) -> bool:
        """What /readyz says."""
        connection = http.client.HTTPConnection(HOST, self.endpoints.health, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        return False

    def disturb(self, name: str, number: signal.Signals) -> float:
        """Sends a signal to a process. Returns: seconds until the server was ready again, with other processes.

        Raises: NotServingError where it is not.
        """
        before = self.processes()
        begun_s = time.monotonic()
        before[name].send_signal(number)
        while time.monotonic() - begun_s < READY_TIMEOUT_S:
            now = self.pids()
            if now.get(SERVER) not in (None, before[SERVER].pid) and len(now) == len(before) and self.ready():
                return time.monotonic() - begun_s
            time.sleep(0.2)
        raise NotServingError(f"{number.name} to {name}: not ready after {READY_TIMEOUT_S:g} s")

    def shared_memory(self) -> list[Path]:
        """Its files in shared memory."""
        return list(SHARED_MEMORY.glob(f"eulernet_{self.process.pid}_*"))

    def bad_lines(self) -> list[str]:
        """Lines of the log that only a defect writes."""
        with self.log.open(errors="replace") as log:
            return [line.rstrip()[:500] for line in log if BAD_LINES.search(line)]


def _name(command: list[str]) -> str | None:
    own = Path(command[0]).name if command else ""
    if own == STUB:
        return next((Path(each).parents[1].name for each in command if each.endswith("/model.py")), None)
    return SERVER if own == SERVER else None
