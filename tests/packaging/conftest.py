# SPDX-License-Identifier: Apache-2.0
"""The built distributions, and fresh virtual environments to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def distributions(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("distributions")
    run(sys.executable, "-m", "build", "--outdir", out, root, cwd=out)
    return out


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    """The wheel that is built from the source distribution."""
    (path,) = distributions.glob("eulernet-*.whl")
    return path


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Path]:
    """`install(python, requirements…)`: a new environment in `venv` without the user's constraints; its `bin`."""

    def make(python: Path, *requirements: str | Path) -> Path:
        environment = {key: value for key, value in os.environ.items() if key not in ("PIP_CONSTRAINT", "PYTHONPATH")}
        run(python, "-m", "venv", "venv", cwd=tmp_path)
        binaries = tmp_path / "venv" / "bin"
        run(binaries / "python", "-m", "pip", "install", *requirements, cwd=tmp_path, environment=environment)
        return binaries

    return make


@pytest.fixture(scope="session")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bona fide clip of the demo, an MP4."""
    folder = tmp_path_factory.mktemp("clips")
    run(sys.executable, "-m", "eulernet_core", "demo-clips", "--out", "clips", cwd=folder)
    return folder / "clips" / "bona_fide.mp4"


@pytest.fixture(scope="session")
def cached_face_models(face_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder (XDG_CACHE_HOME) that holds the face models."""
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(face_models, cache / "eulernet" / "face_models")
    return cache
