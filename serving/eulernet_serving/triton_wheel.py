# SPDX-License-Identifier: Apache-2.0
"""The Triton server from the `nvidia-pytriton` wheel, laid out to run without a container or a GPU.

The wheel contains `tritonserver`, the Python backend and a stub for each Python version. The server finds none of them
in the wheel's layout, and its libraries have names that only the wheel uses.

Run as a module (`python3 -m eulernet_serving.triton_wheel`) it checks this machine before anything is installed, so it
imports only the standard library.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from eulernet_serving.core_shares import LIBRARY_THREADS
from eulernet_serving.libpython import LibpythonError, find_libpython, python_version

MIN_GLIBC = (2, 35)
PYTHONS = ((3, 10), (3, 12))  # the oldest and the newest that nvidia-pytriton has a stub for


class TritonMissingError(Exception):
    """The server can't run on this machine; the message names the remedy."""


@dataclass(frozen=True)
class TritonInstall:
    """`server`: the binary; `backends`: the folder for --backend-directory, None for the server's own;
    `environment`: the server's variables."""

    server: Path
    backends: Path | None
    environment: dict[str, str]


def install(folder: Path) -> TritonInstall:
    """Writes a backend directory into `folder` and composes the server's environment.

    Raises: TritonMissingError where the wheel, its stub or libpython is missing, or this machine is unsuitable.
    """
    libpython = check_host()
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonMissingError("nvidia-pytriton is not installed: run  pip install 'eulernet[serve]'")
    package = Path(spec.submodule_search_locations[0])
    triton = package / "tritonserver"
    stub = triton / "python_backend_stubs" / python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonMissingError(f"{stub} is missing: run  pip install --force-reinstall 'eulernet[serve]'")
    backend = folder / "backends" / "python"
    shutil.copytree(triton / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(stub, backend)
    (backend / stub.name).chmod(0o755)
    libraries = [package.parent / "nvidia_pytriton.libs", libpython.parent]
    return TritonInstall(triton / "bin" / "tritonserver", backend.parent, _environment(libraries))


def _environment(libraries: list[Path]) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    environment = LIBRARY_THREADS | environment
    environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    # The stub imports packages from the environment of the first python3 on PATH.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


def check_host() -> Path:
    """Checks what pip can't install, and unpacks libpython where it is missing: the path of libpython.

    Raises: TritonMissingError with the remedy.
    """
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise TritonMissingError(
            f"the server needs Python 3.10, 3.11 or 3.12, this is Python {python_version()}: "
            "make PYTHON=python3.11 …, or an environment of such a Python (the client runs on 3.10 to 3.14)"
        )
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise TritonMissingError(f"{sys.platform} {platform.machine()}: the server's binary is for Linux on x86_64")
    glibc = tuple(int(part) for part in platform.libc_ver()[1].split("."))
    if glibc < MIN_GLIBC:
        raise TritonMissingError(
            f"glibc {platform.libc_ver()[1]}: the server's binary needs 2.35 (Debian 12, Ubuntu 22.04)"
        )
    try:
        return find_libpython()
    except LibpythonError as error:
        raise TritonMissingError(str(error)) from error


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        check_host()
    except TritonMissingError as error:
        sys.exit(f"error: {error}")
