# SPDX-License-Identifier: Apache-2.0
"""The supervisor's health port: short HTTP answers from what is known already, whatever other callers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType

REQUEST_S = 2.0  # for a whole request, and again for its answer
MAX_CONNECTIONS = 64  # then the oldest is closed
MAX_REQUEST_BYTES = 8192


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: HTTPStatus
    body: str
    content_type: str = "text/plain; charset=utf-8"


class HealthPort:
    """Answers GET and HEAD from `__enter__` to `__exit__`, on a thread of its own.

    Args:
        host, port: to listen on.
        page: path to answer, None where there is nothing; it must not wait for anything.
    """

    def __init__(self, host: str, port: int, page: Callable[[str], Page | None]) -> None:
        self._address, self._page = (host, port), page
        self._open: dict[asyncio.Task[None] | None, None] = {}  # in the order of their arrival

    def __enter__(self) -> HealthPort:
        """Raises: OSError where the port can't be used."""
        self._socket = socket.create_server(self._address)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="health-port", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, sock=self._socket, limit=MAX_REQUEST_BYTES)
        await self._stop.wait()
        server.close()
        tasks = [task for task in self._open if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._open) >= MAX_CONNECTIONS and (oldest := next(iter(self._open))) is not None:
            oldest.cancel()
            del self._open[oldest]
        self._open[task] = None
        try:
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)
            writer.write(self._answer(request))
            await asyncio.wait_for(writer.drain(), REQUEST_S)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.transport.abort()
        finally:
            self._open.pop(task, None)
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        page = self._page(path) if method in ("GET", "HEAD") else Page(HTTPStatus.METHOD_NOT_ALLOWED, "only GET\n")
        page = page or Page(HTTPStatus.NOT_FOUND, "nothing here\n")
        body = page.body.encode()
        head = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\nContent-Type: {page.content_type}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else body)
