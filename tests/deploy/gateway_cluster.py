# SPDX-License-Identifier: Apache-2.0
"""For tests: the gateway's real parts on loopback, or a skip where they can't be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.gateway.local_cluster import LocalCluster
from deploy.tools import HAPROXY, HELM, ToolError


def need_tools() -> None:
    """Skips the test where the pinned helm and HAProxy can't be fetched."""
    try:
        HELM.fetch()
        HAPROXY.fetch()
    except ToolError as error:
        pytest.skip(str(error))


class Cluster(LocalCluster):
    """See LocalCluster."""

    def __init__(self, folder: Path, gateway: Mapping[str, Any] | None = None, files: Path | None = None) -> None:
        need_tools()
        super().__init__(folder, gateway, files)
