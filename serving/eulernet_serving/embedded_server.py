# SPDX-License-Identifier: Apache-2.0
"""The embedded Triton server: one process group, loopback only, ready when a real inference has answered.

Switches follow Triton's notes on secure deployment: the shared-memory, model-repository, trace and logging APIs are
closed, since this release predates the fixes of the Python backend's shared-memory flaws (CVE-2025-23319, -23320,
-23334). Their key is random and not stored, but users of this machine can read it in the process list.
"""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from eulernet_serving.triton_wheel import TritonInstall, install

HOST = "127.0.0.1"
CLOSED_APIS = "model-repository,shared-memory,trace,logging"
EXIT_TIMEOUT_S = 10
PROBE_TIMEOUT_S = 10.0
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """The server could not be started or has ended; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback; 0 takes a free one."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    def resolved(self) -> "Ports":
        """The ports with zeros replaced. Raises: ServerError naming a port that is taken and its option."""
        with contextlib.ExitStack() as stack:
            return replace(self, **{name: stack.enter_context(_bound(name, port)) for name, port in vars(self).items()})


@contextlib.contextmanager
def _bound(name: str, port: int) -> Iterator[int]:
    """Holds the port while the others are checked, so that no free one is given out twice."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()  # a port that is only bound can be bound once more
        except OSError as error:
            raise ServerError(
                f"port {port} can't be used ({error.strerror}): choose another with --{name}-port"
            ) from None
        yield listener.getsockname()[1]


class EmbeddedServer:
    """Runs `tritonserver` on a repository from `__enter__` to `__exit__`.

    Args:
        repository: a complete model repository.
        ports: to listen on.
        log: file for the server's output.
    """

    def __init__(self, repository: Path, ports: Ports, log: Path) -> None:
        self.repository, self.ports, self.log = repository, ports, log
        self._cleanup = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._memory_prefix = f"eulernet_{os.getpid()}_{secrets.token_hex(4)}_"

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def pid(self) -> int | None:
        """Process id of `tritonserver`; None before the start."""
        return self._process.pid if self._process else None

    def __enter__(self) -> "EmbeddedServer":
        """Starts the server; does not wait for it. Raises: ServerError, TritonMissingError."""
        if not self.repository.is_dir():
            raise ServerError(f"{self.repository}: no such folder; eulernet repository puts one together")
        self.ports = self.ports.resolved()
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-serve-")))
            triton = install(scratch)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(self.log.open("wb"))
            self._process = subprocess.Popen(
                self._arguments(triton),
                env=triton.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C must reach this program only
                preexec_fn=die_with_parent,
            )
            self._cleanup = stack.pop_all()
        return self

    def _arguments(self, triton: TritonInstall) -> list[str]:
        closed = f"{CLOSED_APIS}:{secrets.token_hex(8)}={secrets.token_hex(32)}"
        options = {
            "model-repository": self.repository,
            "model-config-name": "cpu",
            "backend-directory": triton.backends,
            "backend-config": f"python,shm-region-prefix-name={self._memory_prefix}",
            "http-address": HOST,
            "http-port": self.ports.http,
            "grpc-address": HOST,
            "grpc-port": self.ports.grpc,
            "metrics-address": HOST,
            "metrics-port": self.ports.metrics,
            "http-restricted-api": closed,
            "grpc-restricted-protocol": closed,
            "exit-timeout-secs": EXIT_TIMEOUT_S,
        }
        return [
            str(triton.server),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in options.items()),
        ]

    def exit_status(self) -> int | None:
        """None while the server runs."""
        return self._process.poll() if self._process else None

    def check_running(self) -> None:
        """Raises: ServerError with the end of the log if the server has ended by itself."""
        status = self.exit_status()
        if status is not None:
            raise ServerError(f"tritonserver ended with status {status}; the end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        with self.log.open(errors="replace") as log:
            return "".join(deque(log, lines)).rstrip()

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until a real inference answers. Raises: ServerError."""
        deadline_s = time.monotonic() + timeout_s
        while not probe(self.url):
            self.check_running()
            if time.monotonic() > deadline_s:
                raise ServerError(f"not ready after {timeout_s:g} s; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server and its stubs, by force if they don't end, and removes their leftovers in shared memory."""
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_TIMEOUT_S + 5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for leftover in Path("/dev/shm").glob(f"{self._memory_prefix}*"):
            leftover.unlink(missing_ok=True)
        self._cleanup.close()


def die_with_parent() -> None:
    """For `preexec_fn`, in the child: SIGTERM when this program is killed by a signal that it can't handle."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def probe(url: str) -> bool:
    """Whether one clip of blank pictures goes through every stage; readiness alone stays true with a dead stage."""
    import numpy as np
    import simplejpeg
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, STATUS

    blank = np.frombuffer(simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8)), np.uint8)[None]
    inputs = [triton.InferInput(name, list(blank.shape), "UINT8") for name in CLIP_ENCODED]
    for each in inputs:
        each.set_data_from_numpy(blank)
    with triton.InferenceServerClient(url, channel_args=[("grpc.enable_http_proxy", 0)]) as client:
        try:
            result = client.infer(CLIP_MODEL, inputs, client_timeout=PROBE_TIMEOUT_S)
        except InferenceServerException:
            return False
    return result.as_numpy(STATUS) is not None
