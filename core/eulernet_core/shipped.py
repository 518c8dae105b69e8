# SPDX-License-Identifier: Apache-2.0
"""Where the model repository, the shipped weights and the recipes are: in the installed wheel, or in a clone.

The face models are fetched at first use into a cache of the user's.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"  # exists in the wheel only
_CLONE = _PACKAGE.parents[1]


class NotInThisInstallationError(Exception):
    """A folder is neither in the wheel nor beside the package; the message says how to get it."""


def model_repository() -> Path:
    """The sources of the model repository. Raises: NotInThisInstallationError."""
    return _found("model_repository", "model_repository")


def weights() -> Path:
    """The shipped weights, `eulernet.pt`. Raises: NotInThisInstallationError."""
    return _found("weights", "training/weights") / "eulernet.pt"


def recipes() -> Path:
    """The folder of the training recipes. Raises: NotInThisInstallationError."""
    return _found("recipes", "training/recipes")


def clone(*parts: str) -> Path:
    """A path inside the clone, for commands that write into the sources.

    Raises: NotInThisInstallationError where the package is installed from a wheel.
    """
    if _DATA.is_dir() or not (_CLONE / "model_repository").is_dir():
        raise NotInThisInstallationError(
            f"{'/'.join(parts)}: this installation is not a clone; clone the repository, or name the path in an option"
        )
    return _CLONE.joinpath(*parts)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/eulernet`, `~/.cache/eulernet` by default (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "eulernet"


def face_models_folder() -> Path:
    """Where `eulernet face-models` puts the face models unless told otherwise."""
    return cache_folder() / "face_models"


def _found(in_wheel: str, in_clone: str) -> Path:
    for folder in (_DATA / in_wheel, _CLONE / in_clone):
        if folder.is_dir():
            return folder
    raise NotInThisInstallationError(f"{in_clone}: not part of this installation; install the wheel again, or clone")
