# SPDX-License-Identifier: Apache-2.0
"""The CPU image, built and run for real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.image import image_check


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.timeout(2400)
def test_the_image_is_built_scores_and_drains(root: Path) -> None:
    if reason := image_check.missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "deploy.image.image_check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "skipped" not in done.stdout


def test_a_machine_without_podman_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "apt-get install podman" in image_check.missing()
