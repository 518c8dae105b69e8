# SPDX-License-Identifier: Apache-2.0
"""The interpreter's shared library (libpython), which the stub of Triton's Python backend is linked with.

Debian and Ubuntu ship it in a package that `python3` does not depend on. Where it is missing, apt downloads the package
and dpkg unpacks it into a folder of the user: nothing is installed and root is not needed. libpython needs no library
that `python3` itself does not need (libexpat, zlib).

Imports only the standard library: the Makefile runs this before anything is installed.
"""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from eulernet_core.shipped import NotInThisInstallationError, cache_folder, clone
from eulernet_core.whole_files import locked, replace_folder

APT_TIMEOUT_S = 300
_log = logging.getLogger(__name__)


class LibpythonError(Exception):
    """libpython is neither installed nor can it be unpacked; the message names the file and the remedy."""


def python_version() -> str:
    """major.minor of the running interpreter."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def file_name() -> str:
    """The library's name in the stub's dynamic section."""
    return f"libpython{python_version()}.so.1.0"


def installed() -> Path | None:
    """The library of a distribution or of an `--enable-shared` build."""
    library_folder = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    folders = [library_folder, library_folder / _multiarch(), Path("/usr/lib") / _multiarch()]
    paths = (folder / file_name() for folder in [*folders, Path("/usr/lib64"), Path("/usr/local/lib")])
    return next((path for path in paths if path.is_file()), None)


def unpack_folder() -> Path:
    """Parent of the unpacked packages, a folder for each Python version: `out/` of a clone, else the user's cache."""
    try:
        return clone("out", "libpython")
    except NotInThisInstallationError:
        return cache_folder() / "libpython"


def find_libpython() -> Path:
    """The library, installed or unpacked; the distribution's package is downloaded and unpacked at the first call.

    Raises: LibpythonError with the remedy.
    """
    return installed() or unpacked(unpack_folder())


def unpacked(folder: Path) -> Path:
    """The library out of the distribution's package, below `folder`/3.x.y; one process at a time unpacks.

    Raises: LibpythonError with the remedy.
    """
    out = folder / platform.python_version()
    library = out / "usr" / "lib" / _multiarch() / file_name()
    if library.is_file():
        return library
    _check_distribution()
    try:
        with locked(folder / ".lock"):
            if not library.is_file():
                _log.info("%s is not installed: unpacking the package %s into %s", file_name(), _package(), out)
                replace_folder(out, _unpack)
    except OSError as error:
        raise LibpythonError(f"{file_name()} can't be unpacked: {error}; {_remedy()}") from error
    if not library.is_file():
        raise LibpythonError(f"{_package()} does not contain {library.relative_to(out)}; {_remedy()}")
    return library


def _check_distribution() -> None:
    """Raises: LibpythonError where the interpreter is not the distribution's, or the distribution has no apt."""
    if sys.base_prefix != "/usr":
        raise LibpythonError(
            f"{file_name()} not found: the Python in {sys.base_prefix} was built without a shared library; build it "
            "with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install), or use the "
            "distribution's Python"
        )
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        raise LibpythonError(
            f"{file_name()} not found, and without {' and '.join(missing)} it can't be unpacked: install the "
            f"distribution's package that contains {file_name()} (Fedora: python{python_version()}-libs)"
        )


def _unpack(out: Path) -> None:
    """Downloads the package of the installed Python's version and unpacks it into `out`. Raises: LibpythonError."""
    with tempfile.TemporaryDirectory(prefix="eulernet-libpython-") as scratch:
        archive = _download(Path(scratch))
        done = subprocess.run(["dpkg", "--extract", archive, out], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LibpythonError(f"{archive.name} can't be unpacked: {_last_line(done.stderr)}; {_remedy()}")


def _download(folder: Path) -> Path:
    """The package's archive, found in the system's package lists, else in new lists that need no root to update."""
    new_lists = [f"Dir::State::Lists={folder / 'lists'}", f"Dir::Cache={folder / 'cache'}"]
    errors = ""
    for options in ([], new_lists):
        if options:
            for name in ("lists", "cache/archives"):
                (folder / name / "partial").mkdir(parents=True)
            errors += _apt(options, folder, "update")
        # The version of the installed Python may have left the archive, or be the only one of the same x.y.z.
        for package in (f"{_package()}={_installed_version()}", _package()):
            errors += _apt(options, folder, "download", package)
            archives = [*folder.glob(f"{_package()}_{platform.python_version()}-*.deb")]
            if archives:
                return archives[0]
    raise LibpythonError(
        f"{_package()} {platform.python_version()} can't be downloaded: {_last_line(errors)}; {_remedy()}"
    )


def _apt(options: list[str], folder: Path, *arguments: str) -> str:
    """Runs apt-get in `folder`; its error output."""
    command = ["apt-get", "--quiet", *(f"--option={option}" for option in options), *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT_S
        ).stderr
    except subprocess.TimeoutExpired:
        return f"apt-get {arguments[0]} gave no answer within {APT_TIMEOUT_S} s\n"


def _installed_version() -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", f"python{python_version()}-minimal"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _package() -> str:
    return f"libpython{python_version()}"


def _remedy() -> str:
    return f"run  apt-get install {_package()}"


def _multiarch() -> str:
    return str(getattr(sys.implementation, "_multiarch", ""))


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "no error message"
