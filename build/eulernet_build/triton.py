"""The real Triton server out of the `nvidia-pytriton` wheel: what it needs to run without a container or a GPU.

The wheel carries `tritonserver`, the Python backend and a stub for each Python version, but in no layout that the
server finds by itself, and linked against libraries that lie in the wheel under names of their own.
"""

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

MIN_GLIBC = (2, 35)


class TritonMissingError(Exception):
    """The server can't be run here; the message says what to install."""


@dataclass(frozen=True)
class TritonInstall:
    """Where the parts lie: `server` the binary, `backends` the folder for --backend-directory, `environment` for it."""

    server: Path
    backends: Path
    environment: dict[str, str]


def python_version() -> str:
    """major.minor of the running interpreter, for which the stub is chosen."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find_libpython() -> Path:
    """The interpreter's shared library, which the Python backend's stub is linked to.

    Raises: TritonMissingError with the remedy.
    """
    name = f"libpython{python_version()}.so.1.0"
    folders = [
        sysconfig.get_config_var("LIBDIR"),
        f"{sysconfig.get_config_var('LIBDIR')}/{sys.implementation._multiarch}",
    ]
    for folder in [*folders, "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/lib"]:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    raise TritonMissingError(
        f"{name} not found, which Triton's Python backend is linked to: on Debian or Ubuntu `apt-get install "
        "libpython3-dev` (python3 alone does not bring it); with pyenv, build Python with --enable-shared"
    )


def install(folder: Path) -> TritonInstall:
    """Lays out a backend directory in `folder` and works out the server's environment.

    Raises: TritonMissingError where the wheel, the stub or libpython is missing.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonMissingError("nvidia-pytriton is not installed: pip install -c constraints.txt -e '.[serve]'")
    package = Path(spec.submodule_search_locations[0])
    triton = package / "tritonserver"
    stub = triton / "python_backend_stubs" / python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonMissingError(f"nvidia-pytriton has no stub for Python {python_version()}: use 3.10, 3.11 or 3.12")
    libpython = find_libpython()
    backend = folder / "backends" / "python"
    shutil.copytree(triton / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(stub, backend)
    (backend / stub.name).chmod(0o755)
    libraries = [package.parent / "nvidia_pytriton.libs", libpython.parent]
    return TritonInstall(triton / "bin" / "tritonserver", backend.parent, _environment(libraries))


def _environment(libraries: list[Path]) -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    # The stub takes its packages from the first python3 on PATH: the virtual environment's.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


def check_host() -> None:
    """Looks at what pip can't install, before anything is downloaded. Raises: TritonMissingError with the remedy."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise TritonMissingError(f"Python {python_version()}: this needs 3.10, 3.11 or 3.12 (make PYTHON=python3.11 …)")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise TritonMissingError(f"{sys.platform} {platform.machine()}: the server's binary is for Linux on x86_64")
    glibc = tuple(int(part) for part in platform.libc_ver()[1].split("."))
    if glibc < MIN_GLIBC:
        raise TritonMissingError(
            f"glibc {platform.libc_ver()[1]}: the server's binary needs 2.35 (Debian 12, Ubuntu 22.04)"
        )
    find_libpython()


if __name__ == "__main__":
    try:
        check_host()
    except TritonMissingError as error:
        sys.exit(f"error: {error}")
