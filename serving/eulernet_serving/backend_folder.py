# SPDX-License-Identifier: Apache-2.0
"""The temporary folder of Triton's Python backend, which stays behind when a server is killed."""

import contextlib
import os
import time
from pathlib import Path

FOLDER, PATTERN = Path("/tmp"), "python_env_*"  # fixed in the backend, whatever TMPDIR says
START_S = 20.0  # within which a server has loaded the backend


class BackendFolder:
    """The folder of a server that is about to start.

    The backend makes it and does not say its name. It is for packed Python environments, so here it stays empty.
    """

    def __init__(self) -> None:
        self._begun_s = time.time()
        self._before = backend_folders()

    def remove(self) -> None:
        """Removes the folder of a server that has ended: the first one that was made after its start."""
        made: list[tuple[float, Path]] = []
        for each in backend_folders() - self._before:
            with contextlib.suppress(OSError):
                found = each.stat()
                if found.st_uid == os.getuid() and found.st_mtime < self._begun_s + START_S:
                    made.append((found.st_mtime, each))
        with contextlib.suppress(OSError, ValueError):  # it is not empty, so it is another program's; or there is none
            min(made)[1].rmdir()


def backend_folders() -> set[Path]:
    """The folders of all servers on this machine, and those that killed ones left behind."""
    return set(FOLDER.glob(PATTERN))
