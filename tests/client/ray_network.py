# SPDX-License-Identifier: Apache-2.0
"""A real Ray cluster of one node in namespaces of its own: it binds the machine's address and leaves processes behind.

Network and processes are apart from the machine's; files are shared. A server outside is reached over a Unix socket.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

START_S = 240  # on a busy machine
STARTS = 5  # Ray gives its own processes 15 s to start, which they may miss on a busy machine
# Runs in every process of the cluster, and not in the command that is started beside it. It stands for a video that
# crashes a decoder, of which there is none at hand, and makes sources last long enough for a kill.
FAULTS = """
import os, pathlib, time
is_dir = pathlib.Path.is_dir
def faulty(self):
    if self.name.startswith("crash"):
        os._exit(7)
    if self.name.startswith("slow"):
        time.sleep(0.2)
    return is_dir(self)
pathlib.Path.is_dir = faulty
"""
# `ray start` starts more processes than a test needs.
START = """
import sys, time, ray
ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, _temp_dir=sys.argv[1],
         _node_ip_address="127.0.0.1", log_to_driver=False)
print("address:", ray.get_runtime_context().gcs_address, flush=True)
time.sleep(1e6)
"""


class RayNetwork:
    """Starts the cluster with two CPUs. Skips the test where that is impossible.

    `address`: of its head.

    Args:
        folder: for logs and the session; its path must be short, for Ray's sockets.
    """

    def __init__(self, folder: Path) -> None:
        _check()
        self.folder = folder
        (folder / "faults").mkdir()
        (folder / "faults" / "sitecustomize.py").write_text(FAULTS)
        self._environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "HOME": str(folder)}
        for _ in range(STARTS):
            self._process = self._started()
            if self._ready():
                return
            self.close()
        pytest.fail((folder / "ray.log").read_text())

    def _started(self) -> subprocess.Popen[bytes]:
        command = shlex.join([sys.executable, "-c", START, str(self.folder)])
        own = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.folder / "ray.log").open("wb") as log:
            return subprocess.Popen(
                [*own, "bash", "-c", f"ip link set lo up && {command}; exit"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**self._environment, "PYTHONPATH": str(self.folder / "faults")},
            )

    def start(self, *command: str | Path, cwd: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Starts a command beside the cluster, with the output as text."""
        enter = ["nsenter", "--net", "--pid", "--mount", f"--target={self._first()}", f"--wdns={cwd or self.folder}"]
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen([*enter, *map(str, command)], env=self._environment, **piped)

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command beside the cluster."""
        with self.start(*command, cwd=cwd) as process:
            try:
                out, said = process.communicate(timeout=START_S)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, said)

    def actors(self) -> list[int]:
        """Process ids of the run's actors, as this process sees them."""
        own = Path(f"/proc/{self._first()}/ns/pid").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                inside = (process / "ns" / "pid").readlink() == own
                if inside and (process / "cmdline").read_bytes().startswith(b"ray::ArchiveWorker"):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def close(self) -> None:
        """Ends every process of the cluster."""
        self._process.kill()  # the kernel then kills the first process of the namespace, and so all of it
        self._process.wait()

    def _first(self) -> int:
        """The first process of the namespaces."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def _ready(self) -> bool:
        """Waits for the start. Returns whether Ray runs."""
        until = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < until:
            if found := re.search(r"^address: (\S+)$", (self.folder / "ray.log").read_text(), re.MULTILINE):
                self.address = found[1]
                return True
            time.sleep(0.2)
        return False


def _check() -> None:
    if find_spec("ray") is None:
        pytest.skip("needs ray: pip install 'eulernet[ray]'")
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install util-linux iproute2")
    probe = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "ip", "link", "set", "lo", "up"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"needs namespaces, as root: {done.stderr.strip()}")
