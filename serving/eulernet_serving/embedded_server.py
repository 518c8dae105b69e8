# SPDX-License-Identifier: Apache-2.0
"""The embedded Triton server: one process group, loopback only, ready when real inferences have answered.

Switches follow Triton's notes on secure deployment: the shared-memory, model-repository, trace and logging APIs are
closed, since this release predates the fixes of the Python backend's shared-memory flaws (CVE-2025-23319, -23320,
-23334). Their key is random and not stored, but users of this machine can read it in the process list. HTTP is closed
unless asked for: its JSON parser dies of requests that gRPC refuses. Shared memory is for this user only.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from eulernet_core.limits import CALLER_HEADER
from eulernet_serving.backend_folder import BackendFolder
from eulernet_serving.child_launcher import launched
from eulernet_serving.inference_probe import probe
from eulernet_serving.installed_triton import installed_triton
from eulernet_serving.repository_manifest import ManifestError
from eulernet_serving.served_repository import ServedRepository, read_served
from eulernet_serving.shared_memory import SHARED_MEMORY, shared_memory_shortage
from eulernet_serving.triton_wheel import TritonInstall, install

HOST = "127.0.0.1"
CLOSED_APIS = "model-repository,shared-memory,trace,logging"
EXIT_TIMEOUT_S = 10
_LOG = logging.getLogger(__name__)


class ServerError(Exception):
    """The server could not be started or has ended; the message gives the reason and the remedy."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback; 0 takes a free one, None is closed. `health` is the supervisor's, not the server's."""

    grpc: int = 8001
    metrics: int = 8002
    http: int | None = None
    health: int | None = None

    def resolved(self) -> "Ports":
        """The ports with zeros replaced. Raises: ServerError naming a port that is taken and its option."""
        wanted = {name: port for name, port in vars(self).items() if port is not None}
        with contextlib.ExitStack() as stack:
            return replace(self, **{name: stack.enter_context(_bound(name, port)) for name, port in wanted.items()})


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
        repository: a complete model repository; one for a GPU node runs in the machine's own Triton.
        ports: to listen on.
        log: file for the server's output.
        append: keep what the log holds.
        environment: variables for the server and its stages beside those of this program.
    """

    def __init__(
        self,
        repository: Path,
        ports: Ports,
        log: Path,
        *,
        append: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.repository, self.ports, self.log = repository, ports, log
        self._append, self._environment = append, dict(environment or {})
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
        served = served_repository(self.repository)
        self.ports = self.ports.resolved()
        check_shared_memory()
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eulernet-serve-")))
            triton = install(scratch) if served.embedded else installed_triton(served.python)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            if not self._append:
                self.log.write_bytes(b"")
            stack.callback(BackendFolder().remove)
            output = stack.enter_context(self.log.open("ab"))  # after a rotation by copying it goes on at the start
            self._process = subprocess.Popen(
                launched(self._arguments(triton), private=True),  # shared memory holds pictures
                env=triton.environment | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C must reach this program only
            )
            self._cleanup = stack.pop_all()
        return self

    def _arguments(self, triton: TritonInstall) -> list[str]:
        served = served_repository(self.repository)
        closed = f"{CLOSED_APIS}:{secrets.token_hex(8)}={secrets.token_hex(32)}"
        options: dict[str, object] = {
            "model-repository": served.models,
            "backend-config": f"python,shm-region-prefix-name={self._memory_prefix}",
            "allow-http": "false",
            "grpc-address": HOST,
            "grpc-port": self.ports.grpc,
            "metrics-address": HOST,
            "metrics-port": self.ports.metrics,
            "grpc-restricted-protocol": closed,
            "grpc-header-forward-pattern": f"^{CALLER_HEADER}$",
            "exit-timeout-secs": EXIT_TIMEOUT_S,
        }
        if triton.backends is not None:
            options["backend-directory"] = triton.backends
        if self.ports.http is not None:
            http = {"http-address": HOST, "http-port": self.ports.http, "http-restricted-api": closed}
            options |= {"allow-http": "true", **http}
        return [
            str(triton.server),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in options.items()),
            *served.options,
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
        """Waits until clips and streams are answered. Raises: ServerError."""
        deadline_s = time.monotonic() + timeout_s
        while not probe(self.url):
            self.check_running()
            if time.monotonic() > deadline_s:
                raise ServerError(f"not ready after {timeout_s:g} s; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(0.2)
        for each in SHARED_MEMORY.glob(f"{self._memory_prefix}*"):
            each.chmod(0o600)  # they are so already, unless the kernel refused the filter

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server and its stubs, by force if they don't end, and removes their leftovers in shared memory."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT_S + 5)
        self.kill()

    def kill(self) -> None:
        """Ends the server and its stubs at once and removes their leftovers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for leftover in SHARED_MEMORY.glob(f"{self._memory_prefix}*"):
            leftover.unlink(missing_ok=True)
        self._cleanup.close()


def served_repository(folder: Path) -> ServedRepository:
    """What the server loads from a folder. Raises: ServerError where its manifest can't be read."""
    try:
        return read_served(folder)
    except ManifestError as error:
        raise ServerError(str(error)) from error


def check_shared_memory() -> None:
    """Logs a shortage. Raises: ServerError where the server could not even start."""
    shortage = shared_memory_shortage()
    if shortage is not None and shortage.fatal:
        raise ServerError(str(shortage))
    if shortage is not None:
        _LOG.warning("%s", shortage)
