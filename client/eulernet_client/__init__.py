"""Client of the EulerNet server: scores videos, folders of JPEGs and live streams for presentation attacks.

The names below are loaded when they are first used, so that `eulernet --help` needs neither numpy nor gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eulernet_client._contract import Status
    from eulernet_client._result import ClipResult, FrameResult, Health
    from eulernet_client._transport import Tls
    from eulernet_client.aio import AsyncClient, AsyncStream
    from eulernet_client.client import Client, Stream
    from eulernet_client.errors import EulerNetError, FrameError, MediaError, ServerError

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "ClipResult",
    "EulerNetError",
    "FrameError",
    "FrameResult",
    "Health",
    "MediaError",
    "ServerError",
    "Status",
    "Stream",
    "Tls",
]

_HOMES = {
    "AsyncClient": "aio",
    "AsyncStream": "aio",
    "Client": "client",
    "ClipResult": "_result",
    "EulerNetError": "errors",
    "FrameError": "errors",
    "FrameResult": "_result",
    "Health": "_result",
    "MediaError": "errors",
    "ServerError": "errors",
    "Status": "_contract",
    "Stream": "client",
    "Tls": "_transport",
}


def __getattr__(name: str) -> Any:
    """Load an exported name from its module at first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
