# SPDX-License-Identifier: Apache-2.0
"""How the supervisor tells the served stages that it drains the server: by a file in a folder that both know."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_FOLDER_VARIABLE = "EULERNET_CONTROL_FOLDER"
_FILE = "draining"


def announce_draining(folder: Path) -> None:
    """For the supervisor: from now on the stages that were started with this control folder refuse new streams."""
    (folder / _FILE).touch()


def is_draining() -> bool:
    """For a stage: whether new streams are refused. False without a supervisor, one look at a file otherwise."""
    folder = os.environ.get(CONTROL_FOLDER_VARIABLE)
    return bool(folder) and Path(folder or "", _FILE).exists()
