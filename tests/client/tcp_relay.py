# SPDX-License-Identifier: Apache-2.0
"""A TCP relay between client and server that can be cut, held and led to another server, in threads of its own."""

import contextlib
import socket
import threading


class Relay:
    """Listens on a port of its own from the start, or on a Unix socket at `path`, which other network namespaces reach.

    `cut_after`: cut when so many more bytes have gone to the server; None: never.
    """

    def __init__(self, target, path=None):
        self._target, self._up = target, True
        self._lock = threading.Lock()
        self._open = set()
        self._flows = threading.Event()
        self._flows.set()
        self.cut_after = None
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.url = f"unix:{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Ends every connection; new ones are closed at once."""
        with self._lock:
            self._up, self.cut_after = False, None
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._flows.set()

    def restore(self, target=None):
        """Takes connections again, to another server if one is given."""
        with self._lock:
            self._target, self._up = target or self._target, True

    def hold(self):
        """Keeps back what the client sends."""
        self._flows.clear()

    def resume(self):
        """Sends on what was kept back."""
        self._flows.set()

    def close(self):
        """Ends everything."""
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._up:
                    near.close()
                    continue
                host, port = self._target.split(":")
                try:
                    far = socket.create_connection((host, int(port)))
                except OSError:
                    near.close()  # the server is dead
                    continue
                self._open |= {near, far}
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source, sink, upwards):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 15):
                if upwards:
                    self._flows.wait()
                    if self._spent(len(data)):
                        self.cut()
                        break
                sink.sendall(data)
        with self._lock:
            self._open -= {source, sink}
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _spent(self, count):
        with self._lock:
            if self.cut_after is None:
                return False
            self.cut_after -= count
            return self.cut_after < 0
