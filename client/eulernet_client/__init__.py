# SPDX-License-Identifier: Apache-2.0
"""Client of the EulerNet server: scores videos, folders of JPEGs and live streams for presentation attacks.

Exported names other than errors are loaded at first use, so that `eulernet --help` imports neither numpy nor gRPC.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from eulernet_client import errors
from eulernet_client.errors import *  # noqa: F403

if TYPE_CHECKING:
    from eulernet_client._credentials import Tls, Token
    from eulernet_client._result import FrameResult, Health, VideoResult
    from eulernet_client.aio import AsyncClient, AsyncStream
    from eulernet_client.client import Client, Stream
    from eulernet_client.sources import find_sources
    from eulernet_core.status import Status

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "FrameResult",
    "Health",
    "Status",
    "Stream",
    "Tls",
    "Token",
    "VideoResult",
    "find_sources",
]
_HOMES = {
    "AsyncClient": "eulernet_client.aio",
    "AsyncStream": "eulernet_client.aio",
    "Client": "eulernet_client.client",
    "FrameResult": "eulernet_client._result",
    "Health": "eulernet_client._result",
    "Status": "eulernet_core.status",
    "Stream": "eulernet_client.client",
    "Tls": "eulernet_client._credentials",
    "Token": "eulernet_client._credentials",
    "VideoResult": "eulernet_client._result",
    "find_sources": "eulernet_client.sources",
}
__all__ += errors.__all__


def __getattr__(name: str) -> Any:
    """Loads an exported name from its module at first use (PEP 562)."""
    if name == "ClipResult":
        warnings.warn("ClipResult is now VideoResult", DeprecationWarning, stacklevel=2)
        name = "VideoResult"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
