# SPDX-License-Identifier: Apache-2.0
"""The Triton server that a machine has installed, such as NVIDIA's container: for a GPU node's repository."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from eulernet_serving.triton_wheel import TritonInstall, TritonMissingError

CONTAINER = Path("/opt/tritonserver/bin/tritonserver")  # its backends lie where it looks for them


def installed_triton(python: Path | None) -> TritonInstall:
    """`tritonserver` on PATH or in NVIDIA's place, with its own backends.

    Args:
        python: folder with the code of the Python models.
    Raises: TritonMissingError.
    """
    found = shutil.which("tritonserver") or (str(CONTAINER) if CONTAINER.is_file() else None)
    if found is None:
        raise TritonMissingError(
            "tritonserver is not on PATH: a GPU node's repository needs NVIDIA's Triton, "
            "such as the container nvcr.io/nvidia/tritonserver"
        )
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    # The stub imports packages from the environment of the first python3 on PATH.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if python is not None:
        environment["PYTHONPATH"] = str(python)
    return TritonInstall(Path(found), None, environment)
