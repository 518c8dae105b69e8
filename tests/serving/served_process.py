# SPDX-License-Identifier: Apache-2.0
"""For tests: `eulernet serve` as a user runs it, with its processes, lines and health port, and a caller's stream."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
import tritonclient.grpc as triton

from eulernet_core.tensors import ENCODED, STATUS, STREAM_MODEL
from eulernet_serving.backend_folder import backend_folders
from eulernet_serving.embedded_server import HOST
from eulernet_serving.process_watch import SERVER, STUB

# Tests that run under nohup hand down that SIGHUP is ignored.
SERVE = [
    "env",
    "--default-signal=HUP",
    sys.executable,
    "-c",
    "from eulernet_serving.serve_command import serve; serve()",
]
LOADING_S = 3.0  # from a server's start to the folder of its Python backend
FREE_PORTS = ["--grpc-port=0", "--metrics-port=0", "--health-port=0"]


def shared_memory(pids: set[int]) -> set[str]:
    """Of servers that these processes run; other servers of this machine have their own."""
    return {path.name for path in Path("/dev/shm").glob("eulernet_*") if int(path.name.split("_")[1]) in pids}


def await_no_backend_folder(before: set[Path], begun_s: float) -> None:
    """Waits until a server that began at `begun_s` (time.time) has left no folder of Triton's Python backend.

    Args:
        before: the folders at that time. Another process of the suite starts and ends servers too.
    """
    deadline_s = time.monotonic() + 30
    while len(backend_folders() - before) > _servers_since(begun_s):
        assert time.monotonic() < deadline_s, backend_folders() - before
        time.sleep(0.1)


def _servers_since(begun_s: float) -> int:
    """Servers that run and made their folder later; each has one."""
    count = 0
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            count += each.name() == SERVER and each.create_time() > begun_s - LOADING_S
    return count


class Serving:
    """A running or ended `eulernet serve`; a mark in the environment tells its processes from others."""

    def __init__(self, *arguments: str, cwd: Path, scratch: Path | None = None, stdin: int | None = None) -> None:
        self.folder = cwd
        self.mark = uuid.uuid4().hex
        self.lines: list[tuple[float, str]] = []  # of standard error, each with the time when it came
        environment = {**os.environ, "EULERNET_TEST_MARK": self.mark}
        self.process = subprocess.Popen(
            [*SERVE, *FREE_PORTS, *arguments],
            cwd=cwd,
            env=environment if scratch is None else environment | {"TMPDIR": str(scratch)},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line))

    @property
    def err(self) -> str:
        """Standard error so far."""
        return "".join(line for _, line in self.lines)

    def wait_line(self, pattern: str, timeout_s: float = 60, skip: int = 0) -> tuple[float, re.Match[str]]:
        """When the first line after `skip` lines came that matches, and the match."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            for when_s, line in self.lines[skip:]:
                if found := re.search(pattern, line):
                    return when_s, found
            assert self._reader.is_alive(), f"ended: {self.err}"
            time.sleep(0.02)
        raise AssertionError(f"no line with {pattern!r} in {timeout_s} s: {self.err}")

    def wait_ready(self) -> set[int]:
        """Returns the processes that run then."""
        _, ports = self.wait_line(r"^ready after .* gRPC \S+:(\d+), .*metrics (\d+), health (\d+)")
        self.grpc, self.metrics, self.health = map(int, ports.groups())
        self.url = f"{HOST}:{self.grpc}"
        running = self.processes()
        assert len(running) > 3  # this program, tritonserver and at least two stages
        return running

    def processes(self) -> set[int]:
        """All that was started, whoever its parent is by now."""
        found = set()
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.environ().get("EULERNET_TEST_MARK") == self.mark and each.status() != psutil.STATUS_ZOMBIE:
                    found.add(each.pid)
        return found

    def pid_of(self, name: str) -> int:
        """The process of tritonserver, or of a model's stage."""
        for pid in self.processes():
            command = psutil.Process(pid).cmdline()
            own = Path(command[0]).name
            if own == name or (own == STUB and any(re.search(rf"/{name}/1/\w+\.py", each) for each in command)):
                return pid
        raise AssertionError(f"no process of {name}")

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the health port."""
        connection = http.client.HTTPConnection(HOST, self.health, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def wait_status(self, path: str, status: int, timeout_s: float) -> float:
        """Seconds until the page answered with the status."""
        begun_s = time.monotonic()
        while (seen := self.get(path)[0]) != status:
            assert time.monotonic() - begun_s < timeout_s, f"{path} answers {seen}: {self.err}"
            time.sleep(0.05)
        return time.monotonic() - begun_s

    def ask(self, line: str) -> None:
        """Sends a line to the command that runs beside the server."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, timeout_s: float = 40) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        self.process.wait(timeout_s)
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out = self.process.stdout.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode, out, self.err

    def stop(self) -> tuple[int, str, str]:
        """Ends it by SIGTERM, and at once by a second one."""
        for _ in range(2):
            if self.process.poll() is None:
                self.process.terminate()
                time.sleep(0.3)
        return self.end()

    def leftovers(self, timeout_s: float = 5) -> set[int]:
        """What still runs in the end."""
        deadline_s = time.monotonic() + timeout_s
        while (left := self.processes()) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return left


class Stream:
    """A caller's stream of single frames with a face."""

    def __init__(self, url: str, sequence_id: int, jpeg: bytes) -> None:
        self.client = triton.InferenceServerClient(url)
        self.sequence_id, self.begun = sequence_id, False
        self.frame_input = triton.InferInput(ENCODED, [1, len(jpeg)], "UINT8")
        self.frame_input.set_data_from_numpy(np.frombuffer(jpeg, np.uint8)[None])

    def send(self, *, last: bool = False) -> int:
        """STATUS of one frame. Raises: InferenceServerException."""
        order = {"sequence_id": self.sequence_id, "sequence_start": not self.begun, "sequence_end": last}
        self.begun = True
        result = self.client.infer(STREAM_MODEL, [self.frame_input], client_timeout=20, **order)
        return int(result.as_numpy(STATUS).item())
