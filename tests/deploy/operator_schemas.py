# SPDX-License-Identifier: Apache-2.0
"""Validates objects of the Prometheus operator by the schemas of the npm package @kubernetes-models."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.tools import TOOLS
from eulernet_core.whole_files import locked, replace_folder

PACKAGE, VERSION = "@kubernetes-models/prometheus-operator", "6.0.0"
_CHECK = """
const [kind, text] = process.argv.slice(1);
const {[kind]: Model} = await import(`@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/${kind}`);
try { new Model(JSON.parse(text)).validate(); } catch (error) { console.log(String(error.message)); }
"""


@functools.cache
def _installed() -> Path:
    """The folder with the package; skips the test where it can't be installed."""
    npm, folder = shutil.which("npm"), TOOLS / f"prometheus-operator-schemas-{VERSION}"
    if npm is None or shutil.which("node") is None:
        pytest.skip("no node and npm, which run the schemas of the Prometheus operator: apt-get install nodejs npm")
    assert npm is not None
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]

    def install(fresh: Path) -> None:
        subprocess.run([*command, fresh, f"{PACKAGE}@{VERSION}"], check=True, capture_output=True, timeout=240)

    TOOLS.mkdir(parents=True, exist_ok=True)
    with locked(TOOLS / ".lock"):
        if not folder.is_dir():
            try:
                replace_folder(folder, install)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"{PACKAGE} can't be installed by npm: {error}")
    return folder


def faults(manifest: dict[str, Any]) -> str:
    """What the schema of the object's kind says against it; empty if it is valid."""
    command = ["node", "--input-type=module", "--eval", _CHECK, manifest["kind"], json.dumps(manifest)]
    done = subprocess.run(command, cwd=_installed(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
