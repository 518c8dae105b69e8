# SPDX-License-Identifier: Apache-2.0
"""Runs the page's ASGI application with uvicorn on a loopback port until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvicorn

from eulernet_client.aio import AsyncClient
from eulernet_client.console.web_application import web_application
from eulernet_core.limits import MAX_ENCODED_BYTES

HOST = "127.0.0.1"
CLOSING_S = 3  # for open pages at the end
WAITING_MESSAGES = 2  # of a page that the WebSocket reads ahead; the rest waits in the page


class PortTakenError(Exception):
    """The page's port can't be used."""


class PageServer(uvicorn.Server):
    """Calls `ready` once the page can be opened."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def serve_page(
    client: AsyncClient,
    metrics: Sequence[tuple[str, int]],
    port: int,
    *,
    open_page: bool,
    announce: Callable[[str], None],
) -> None:
    """Serves the page until SIGINT or SIGTERM, and closes the client.

    Args:
        client: unused so far; it belongs to the page's event loop from now on.
        metrics: host and port of each server's metrics.
        port: on loopback; 0 takes a free one.
        open_page: open the page in the user's browser.
        announce: gets the page's address, once it can be opened.
    Raises:
        PortTakenError: names the port.
    """
    listener = bound(port)
    address = f"http://{HOST}:{listener.getsockname()[1]}/"

    def ready() -> None:
        announce(f"console: {address} (server {', '.join(client.urls)}); stop with Ctrl-C")
        if open_page:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()  # some browsers block

    config = uvicorn.Config(
        web_application(client, metrics),
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=MAX_ENCODED_BYTES,
        ws_max_queue=WAITING_MESSAGES,
        ws_per_message_deflate=False,  # JPEGs do not shrink
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING_S,
    )
    # uvicorn stops at a signal, and raises it again after its shutdown.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listener, suppress(KeyboardInterrupt):
        asyncio.run(PageServer(config, ready).serve([listener]))


def bound(port: int) -> socket.socket:
    """A listening socket on loopback. Raises: PortTakenError."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTakenError(f"port {port} can't be used ({error.strerror}): choose another with --port") from error
    return listener
