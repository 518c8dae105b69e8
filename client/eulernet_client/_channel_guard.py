# SPDX-License-Identifier: Apache-2.0
"""Refuses calls where gRPC would hang or raise errors of its own: on a closed client, after a fork, in another loop."""

from __future__ import annotations

import asyncio
import os
import threading

from eulernet_client.errors import ClientStateError

_asyncio_in: set[int] = set()  # ids of the processes that used gRPC with asyncio; a forked child inherits its parent's


class ChannelGuard:
    """The state of one client's channels."""

    def __init__(self) -> None:
        self._process: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._closed = False

    def check_open(self) -> None:
        """Raises: ClientStateError if the client is closed."""
        if self._closed:
            raise ClientStateError("this client is closed; make a new one")

    def check(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Before each use of a channel.

        Args:
            loop: the running event loop, for channels of asyncio.

        Raises:
            ClientStateError: says what to do.
        """
        self.check_open()
        if self._process is None:
            self._bind(loop)
        elif self._process != os.getpid():
            raise ClientStateError(
                f"this client belongs to process {self._process}, which forked; make one in each process"
            )
        elif self._loop is not loop:
            raise ClientStateError(
                "this client belongs to the event loop of its first call; make one AsyncClient in each asyncio.run"
            )

    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> bool:
        """Closes the guard. Returns whether the channels can be closed here: not after a fork or the loop's end.

        Raises:
            ClientStateError: the loop of the channels runs elsewhere.
        """
        own = self._process == os.getpid()
        if own and self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise ClientStateError("this client belongs to another event loop, which is still open; close it there")
        self._closed = True
        return own and self._loop is loop

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Ties the client to this process, and to the loop."""
        here = os.getpid()
        if _asyncio_in - {here}:
            # Threads of gRPC's asyncio layer are missing here, and calls may hang. Its blocking layer can be forked.
            raise ClientStateError(
                "this process was forked from one that had used an AsyncClient; start it with multiprocessing's method "
                "spawn or forkserver, or use Client in the parent"
            )
        with self._lock:
            self._process, self._loop = self._process or here, loop
            if loop is not None:
                _asyncio_in.add(here)
