# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the page: only itself, over a loopback name. Sets the security headers of every answer.

The name in `Host` must be a loopback name, so that a foreign page can't reach the console by pointing its own name at
127.0.0.1 (DNS rebinding). The port may be any, so that SSH tunnels work.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-cache",
}
POLICY_VIOLATION = 1008  # close code of a refused WebSocket (RFC 6455)


class PageGuard:
    """ASGI middleware: refuses foreign requests, and adds HEADERS to answers that have no such header of their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = refusal(Headers(scope=scope), must_name_origin=scope.get("method") not in SAFE_METHODS)
        if reason and scope["type"] == "websocket":
            await WebSocketClose(POLICY_VIOLATION, reason)(scope, receive, send)
        elif reason:
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def refusal(headers: Headers, *, must_name_origin: bool) -> str:
    """Why a request is refused; empty for one of the page itself.

    Args:
        must_name_origin: of a WebSocket, or of a request that changes something.
    """
    host = headers.get("host", "")
    if _name(host) not in LOOPBACK_NAMES:
        return f"Host {host!r} is not this machine: open the page through localhost or 127.0.0.1"
    origin = headers.get("origin")
    if origin is None and must_name_origin:
        return "no Origin: this request must come from the console's own page"
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"Origin {origin!r} is not the console's own page at {host!r}"
    # Browsers say where a request comes from. A link from elsewhere may open the page, and load nothing of it.
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
    if site not in ("none", "same-origin") and mode != "navigate":
        return "a page of another origin may not load parts of the console"
    return ""


def _name(host: str) -> str:
    """The name in a Host header, without the port; empty for one that can't be read."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
