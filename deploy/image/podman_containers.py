# SPDX-License-Identifier: Apache-2.0
"""Runs podman as root with runc, in network namespaces of its own: no container reaches anything or is reached."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.image.build_image import OUT

# Without systemd: limits that root may always set, cgroups by file, logs in files.
_CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
log_driver = "k8s-file"
shm_size = "1g"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
TIMEOUT_S = 300.0


class PodmanError(RuntimeError):
    """podman ended with an error; the message has its last lines."""


def podman_environment() -> dict[str, str]:
    """The environment of podman and buildah."""
    path = OUT / "containers.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_CONFIGURATION)
    return {**os.environ, "CONTAINERS_CONF": str(path)}


def podman(*arguments: str | Path, text: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """Standard output of podman, given `text` on its standard input. Raises: PodmanError."""
    done = subprocess.run(
        ["podman", *map(str, arguments)],
        env=podman_environment(),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        raise PodmanError(f"podman {arguments[0]} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def has_image(name: str) -> bool:
    """Whether the local store has the image."""
    command = ["podman", "image", "exists", name]
    return subprocess.run(command, env=podman_environment(), check=False, timeout=TIMEOUT_S).returncode == 0
