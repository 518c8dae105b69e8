# SPDX-License-Identifier: Apache-2.0
"""Validates objects of the Prometheus operator and of KEDA by the schemas of the npm packages @kubernetes-models."""

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

# By API group: npm package, version, folder under out/tools.
PACKAGES = {
    "monitoring.coreos.com": ("@kubernetes-models/prometheus-operator", "6.0.0", "prometheus-operator-schemas-6.0.0"),
    "keda.sh": ("@kubernetes-models/keda", "2.0.0", "keda-schemas-2.0.0"),
}
_CHECK = """
const [path, kind, text] = process.argv.slice(1);
const {[kind]: Model} = await import(path);
try { new Model(JSON.parse(text)).validate(); } catch (error) { console.log(String(error.message)); }
"""


@functools.cache
def _installed(group: str) -> Path:
    """The folder with a group's package; skips the test where it can't be installed."""
    package, version, name = PACKAGES[group]
    npm, folder = shutil.which("npm"), TOOLS / name
    if npm is None or shutil.which("node") is None:
        pytest.skip("no node and npm, which run the schemas of operators: apt-get install nodejs npm")
    assert npm is not None
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]

    def install(fresh: Path) -> None:
        subprocess.run([*command, fresh, f"{package}@{version}"], check=True, capture_output=True, timeout=240)

    TOOLS.mkdir(parents=True, exist_ok=True)
    with locked(TOOLS / ".lock"):
        if not folder.is_dir():
            try:
                replace_folder(folder, install)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"{package} can't be installed by npm: {error}")
    return folder


def faults(manifest: dict[str, Any]) -> str:
    """What the schema of the object's kind says against it; empty if it is valid."""
    group, _, api = manifest["apiVersion"].partition("/")
    module = f"{PACKAGES[group][0]}/{group}/{api}/{manifest['kind']}"
    command = ["node", "--input-type=module", "--eval", _CHECK, module, manifest["kind"], json.dumps(manifest)]
    done = subprocess.run(command, cwd=_installed(group), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
