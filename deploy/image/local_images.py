# SPDX-License-Identifier: Apache-2.0
"""Images for a machine without a container registry: a Debian bootstrapped from its packages, and HAProxy on it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.image.build_image import OUT
from deploy.image.podman_containers import PodmanError, has_image, podman, podman_environment
from deploy.tools import HAPROXY

DEBIAN = "localhost/eulernet-debian:12"
DOOR = f"localhost/eulernet-haproxy:{HAPROXY.version}"
_SOURCES = (
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
)
_DOOR_FILE = f"""\
FROM {DEBIAN}
COPY haproxy /opt/haproxy
ENV PATH=/opt/haproxy:/usr/bin:/bin
USER 10001:10001
"""


def make_debian() -> str:
    """The base image, bootstrapped if the store lacks it. Raises: PodmanError."""
    if not has_image(DEBIAN):
        archive = OUT / "debian.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", str(archive)]
        done = subprocess.run([*command, *_SOURCES], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PodmanError(f"mmdebstrap ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
        podman("import", archive, DEBIAN)
        archive.unlink()
    return DEBIAN


def make_door() -> str:
    """The image with the pinned HAProxy. Raises: PodmanError, ToolError."""
    if not has_image(DOOR):
        make_debian()
        with tempfile.TemporaryDirectory(prefix="eulernet-door-") as context:
            shutil.copytree(HAPROXY.fetch().parent, Path(context) / "haproxy")
            (Path(context) / "Containerfile").write_text(_DOOR_FILE)
            command = ["buildah", "bud", "--isolation=chroot", "--pull-never", f"--tag={DOOR}", context]
            done = subprocess.run(command, env=podman_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise PodmanError(f"buildah ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return DOOR
