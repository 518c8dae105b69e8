# SPDX-License-Identifier: Apache-2.0
"""The client with the newest releases that its bounds allow, on each Python of this machine."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from eulernet_serving.embedded_server import EmbeddedServer

CLIENT_PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SERVER_PYTHONS = ("3.10", "3.11", "3.12")
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]


@functools.cache
def interpreter(version: str) -> Path | None:
    """The Python of that version on PATH or in pyenv; None if it is absent or has no `venv`."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    candidates = [*([on_path] if on_path else []), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python{version}")))]
    for candidate in candidates:
        # A shim of pyenv on PATH fails unless its version is selected.
        check = [candidate, "-c", "import ensurepip, sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return Path(candidate)
    return None


def needed(version: str) -> Path:
    """The Python of that version; skips the test if it is absent."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} with venv is neither on PATH nor in pyenv")
    return python


def eulernet(binaries: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the installed command in the environment's parent folder."""
    return subprocess.run(
        [binaries / "eulernet", *arguments], cwd=binaries.parents[1], capture_output=True, text=True, check=False
    )


@pytest.mark.triton
@pytest.mark.parametrize("version", CLIENT_PYTHONS)
def test_the_newest_client_scores_a_clip(
    version: str, wheel: Path, install: Callable[..., Path], server: EmbeddedServer, demo_clip: Path
) -> None:
    binaries = install(needed(version), f"{wheel}[client]")
    done = eulernet(binaries, "score", demo_clip, "--url", server.url, "--json", "--report", "report.html")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["clips"]
    assert result["verdict"] == "live"
    assert result["liveness"] == pytest.approx(0.98, abs=0.02)
    assert len(result["frames"]) == 4
    assert all(frame["status"] == "OK" and len(frame["box"]) == 4 for frame in result["frames"])
    assert "data:image/jpeg;base64," in (binaries.parents[1] / "report.html").read_text()

    table = eulernet(binaries, "score", demo_clip, "--url", server.url, "--out", "scores.csv")
    assert table.returncode == 0, table.stderr
    assert len((binaries.parents[1] / "scores.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("version", sorted({*CLIENT_PYTHONS} - {*SERVER_PYTHONS}))
def test_a_python_that_is_too_new_for_the_server_is_named(
    version: str, wheel: Path, install: Callable[..., Path]
) -> None:
    binaries = install(needed(version), f"{wheel}[serve,client]")
    done = eulernet(binaries, "serve")
    assert done.returncode == 1
    assert f"Python {version}" in done.stderr
    assert all(each in done.stderr for each in SERVER_PYTHONS)


@pytest.mark.triton
@pytest.mark.parametrize("version", SERVER_PYTHONS)
def test_the_newest_server_runs_the_demo(
    version: str, wheel: Path, install: Callable[..., Path], cached_face_models: Path
) -> None:
    binaries = install(needed(version), f"{wheel}[serve,client]")
    done = eulernet(binaries, "demo", "--face-models", cached_face_models / "eulernet" / "face_models")
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout
