# SPDX-License-Identifier: Apache-2.0
"""Finds Triton's perf_analyzer, runs it and reads its CSV.

The wheel named perf_analyzer needs glibc 2.38. The binary in the Linux wheels of tritonclient, up to 2.51, runs from
glibc 2.34 on. It needs libb64 and libcudart; nvidia-pytriton ships both under mangled names.
"""

from __future__ import annotations

import contextlib
import csv
import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eulernet_client.command_options import request_headers
from eulernet_client.errors import PerfAnalyzerError
from eulernet_core.whole_files import replacing, sha256_of
from eulernet_loadtest.metrics import Latency
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.results import Run, perf_analyzer_run

NAME = "perf_analyzer"
REQUIREMENT = "tritonclient==2.51.0"
WHEEL_TAGS = ("--platform=manylinux1_x86_64", "--only-binary=:all:", "--no-deps")
MEMBER = "tritonclient-2.51.0.data/data/bin/perf_analyzer"
SHA256 = "a8e3fa6d2fcd535770f18fa3c9baf21aee85697352637d24c6b2818401c95a34"
DOWNLOAD_TIMEOUT_S = 600.0
BORROWED = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
WINDOWS = 3  # perf_analyzer averages over three windows
ANY_SPREAD_PERCENT = 999  # it would otherwise repeat its windows until they agree
EXTRA_S = 60.0
PROXIES = {"http_proxy", "https_proxy", "grpc_proxy", "all_proxy"}


@dataclass(frozen=True)
class Job:
    """One call of perf_analyzer.

    Attributes:
        duration_s: of all windows.
        data: the real-data JSON.
        access: arguments for TLS and headers, which may be secret.
    """

    mode: Mode
    concurrency: int
    duration_s: float
    url: str
    data: Path
    access: tuple[str, ...] = field(default=(), repr=False)

    def arguments(self, csv_path: Path) -> list[str]:
        """The arguments after the program's name; the same on a GPU cluster."""
        return [
            *("-m", self.mode.model, "-i", "grpc", "-u", self.url, *self.access),
            *("--input-data", str(self.data)),
            *("--concurrency-range", str(self.concurrency)),
            *("--measurement-interval", str(round(1000 * self.duration_s / WINDOWS))),
            *("--stability-percentage", str(ANY_SPREAD_PERCENT), "--max-trials", str(WINDOWS)),
            *("-f", str(csv_path)),
        ]


def access_arguments(server: dict[str, Any]) -> tuple[str, ...]:
    """perf_analyzer's arguments for TLS, headers and token.

    Args:
        server: the values of `eulernet_client.command_options.server_options`.

    Raises:
        PerfAnalyzerError: perf_analyzer lacks the option.
    """
    if server["tls_server_name"]:
        raise PerfAnalyzerError(
            "--tls-server-name: perf_analyzer can't check another name; connect by a name in the certificate"
        )
    files = {
        "root-certifications": server["tls_ca"],
        "certificate-chain": server["tls_cert"],
        "private-key": server["tls_key"],
    }
    found = [f"--ssl-grpc-{name}-file={path}" for name, path in files.items() if path]
    tls = ["--ssl-grpc-use-ssl"] if found or server["tls"] else []
    headers = request_headers(server)
    return (*tls, *found, *(part for key, value in headers.items() for part in ("-H", f"{key}:{value}")))


def find(given: Path | None, kept: Path) -> Path:
    """The binary: `given`, or the first of: on PATH, beside this Python, in the folder `kept` (downloaded if missing).

    Raises:
        PerfAnalyzerError: not found.
    """
    if given is not None:
        if not os.access(given, os.X_OK) or not given.is_file():
            raise PerfAnalyzerError(f"{given}: not an executable file; give the path of perf_analyzer")
        return given
    for found in (shutil.which(NAME), shutil.which(NAME, path=str(Path(sys.executable).parent))):
        if found:
            return Path(found)
    binary = kept / NAME
    if not binary.is_file() or sha256_of(binary) != SHA256:
        fetch(binary)
    return binary


def fetch(binary: Path) -> None:
    """Downloads a pinned tritonclient wheel and extracts the binary. Raises: PerfAnalyzerError."""
    by_hand = "or install perf_analyzer and name it with --perf-analyzer"
    with tempfile.TemporaryDirectory(prefix="eulernet-wheel-") as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", *WHEEL_TAGS]
        try:
            done = subprocess.run(
                [*command, "--dest", folder, REQUIREMENT],
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PerfAnalyzerError(f"{REQUIREMENT}: no answer; check the network, {by_hand}") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reason = (done.stderr.strip() or "no wheel").splitlines()[-1]
            raise PerfAnalyzerError(f"{REQUIREMENT}: download failed ({reason}); check the network, {by_hand}")
        with zipfile.ZipFile(wheels[0]) as archive:
            content = archive.read(MEMBER)
    with replacing(binary) as temporary:
        temporary.write_bytes(content)
        found = sha256_of(temporary)
        if found != SHA256:
            raise PerfAnalyzerError(
                f"{REQUIREMENT}: sha256 of {MEMBER} is {found}, expected {SHA256}; use another index, {by_hand}"
            )
    binary.chmod(0o755)


@contextlib.contextmanager
def libraries() -> Iterator[dict[str, str]]:
    """Environment variables that lead the binary to its libraries; valid inside the block."""
    environment = dict(os.environ)
    spec = find_spec("pytriton")  # without importing it
    places = list(spec.submodule_search_locations or ()) if spec else []
    with tempfile.TemporaryDirectory(prefix="eulernet-perf-") as folder:
        for place in places:
            for name, pattern in BORROWED.items():
                for library in sorted((Path(place).parent / "nvidia_pytriton.libs").glob(pattern))[:1]:
                    (Path(folder) / name).symlink_to(library)
        # After the system's path: libraries that are installed there come first.
        path = [environment.get("LD_LIBRARY_PATH", ""), folder]
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, path))
        yield environment


def measure(binary: Path, job: Job, csv_path: Path) -> Run:
    """Runs perf_analyzer and reads its CSV.

    Raises:
        PerfAnalyzerError: it did not start, or measured nothing; includes the end of its output.
    """
    with libraries() as environment:
        if _is_loopback(job.url):
            environment = {key: value for key, value in environment.items() if key.lower() not in PROXIES}
        csv_path.unlink(missing_ok=True)
        try:
            done = subprocess.run(
                [str(binary), *job.arguments(csv_path)],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=2 * job.duration_s + EXTRA_S,
                check=False,
            )
        except OSError as error:
            raise PerfAnalyzerError(
                f"{binary}: can't be run ({error.strerror}); name another --perf-analyzer"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise PerfAnalyzerError(
                f"{binary}: still running after {error.timeout:g} s; does the server answer?"
            ) from error
    if done.returncode or not csv_path.is_file():
        raise PerfAnalyzerError(f"{binary}: {_reason(done)}")
    return read_csv(csv_path.read_text(encoding="utf-8"), job)


def _is_loopback(url: str) -> bool:
    host = url.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    text = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    words = " | ".join(text[-3:]) or f"exit status {done.returncode}, no output"
    if "error while loading shared libraries" in words:
        return f"{words}; run  pip install 'eulernet[serve]'  for libb64 and libcudart"
    return words


# The columns whose sum is a request's mean latency.
_SERVER = ("Queue", "Compute Input", "Compute Infer", "Compute Output")
PARTS = ("Client Send", "Network+Server Send/Recv", "Client Recv", *(f"Server {part}" for part in _SERVER))


def read_csv(text: str, job: Job) -> Run:
    """Reads the row of the job's concurrency from perf_analyzer's CSV. Raises: PerfAnalyzerError."""
    for row in csv.DictReader(text.splitlines()):
        try:
            if int(row["Concurrency"]) != job.concurrency:
                continue
            tail = {q: float(row[f"p{q} latency"]) / 1000 for q in (50, 90, 95, 99)}
            mean_ms = sum(float(row[part]) for part in PARTS) / 1000
            rate_hz = float(row["Inferences/Second"])
        except (KeyError, TypeError, ValueError) as error:
            raise PerfAnalyzerError(f"perf_analyzer's CSV can't be read ({error}): {text[:200]!r}") from error
        latency = Latency(None, mean_ms, tail[50], tail[90], tail[95], tail[99], None, None, tuple(tail.items()))
        return perf_analyzer_run(job.mode, job.concurrency, job.duration_s, rate_hz, latency)
    raise PerfAnalyzerError(f"perf_analyzer's CSV has no row of concurrency {job.concurrency}: {text[:200]!r}")
