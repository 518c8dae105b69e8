# SPDX-License-Identifier: Apache-2.0
"""Says why a connection failed, by looking at the port: plain gRPC, TLS or HTTP/1, and which certificate is refused.

gRPC's own texts differ between releases and often name no cause. A look costs up to three connections and a few bytes.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import suppress
from enum import Enum

from eulernet_client._connection import Connection, is_loopback
from eulernet_client._credentials import Tls, tls_context
from eulernet_client._server_errors import REFUSED_CONNECTION, UNKNOWN_NAME
from eulernet_client.errors import ConnectionSetupError, ServerError, ServerUnavailableError

LOOK_S = 1.0  # for all connections of a look
LISTEN_S = 0.2  # for a server that speaks first
PAUSE_S = 5.0  # between two looks at one server
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # with an empty SETTINGS frame
_HTTP1_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_SETTINGS, _ALERT, _HANDSHAKE = 4, 21, 22  # types of an HTTP/2 frame, and of TLS records
# Codes of OpenSSL's certificate check, X509_V_ERR_….
_NOT_YET_VALID, _EXPIRED, _WRONG_NAMES = 9, 10, frozenset({62, 63, 64})


class Speaks(Enum):
    """The protocol of a port."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1"
    TLS = "TLS"
    OTHER = "another protocol"
    NOTHING = "nothing"


class PortProbe:
    """Looks at one server's port, at most once every PAUSE_S; in between it knows what it saw.

    Use: `if probe.claim(): probe.look()`, then `probe.seen()`.
    """

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection, self._url = connection, url
        self._seen: ServerError | None = None
        self._due = float("-inf")

    def claim(self) -> bool:
        """Whether it is time for another look, which the caller then takes."""
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + PAUSE_S
        return True

    def look(self) -> None:
        """Looks at the port. Blocks for up to LOOK_S."""
        self._seen = _cause(self._url, self._connection.tls)

    def seen(self) -> ServerError | None:
        """The cause that the last look found, as a new exception; None if it found none."""
        return None if self._seen is None else type(self._seen)(str(self._seen))


def _cause(url: str, tls: Tls | None) -> ServerError | None:
    host, _, port = url.rpartition(":")
    address = host.strip("[]"), int(port) if port.isdecimal() else 0
    if url.startswith(("unix:", "ipv4:", "ipv6:")) or not address[1]:
        return None
    if not is_loopback(url) and _proxy():
        return None  # gRPC connects through it
    look = _Look(address, time.monotonic() + LOOK_S)
    try:
        return _tls_cause(look, url, tls) if tls is not None else _plain_cause(look, url)
    except socket.gaierror:
        return ServerUnavailableError(f"{url}: {UNKNOWN_NAME}; check the address")
    except ConnectionRefusedError:
        return ServerUnavailableError(
            f"{url}: {REFUSED_CONNECTION}; check the address, or start a server with `eulernet serve`"
        )
    except OSError:
        return None


def _plain_cause(look: _Look, url: str) -> ServerError | None:
    spoken = look.speaks()
    if spoken is Speaks.TLS:
        return ConnectionSetupError(f"{url}: the server wants TLS; connect with tls=Tls() (--tls)")
    return _not_grpc(url, spoken)


def _tls_cause(look: _Look, url: str, tls: Tls) -> ServerError | None:
    context = tls_context(tls)
    context.set_alpn_protocols(["h2"])
    name = tls.server_name or look.address[0]
    try:
        with look.connect() as plain, context.wrap_socket(plain, server_hostname=name) as secure:
            return _after_handshake(secure, url, tls)
    except ssl.SSLCertVerificationError as error:
        return _certificate_refused(url, name, error)
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return ConnectionSetupError(_certificate_text(url, tls, error.reason or ""))
    except ConnectionRefusedError:
        raise
    except OSError:
        pass
    return _not_tls(look, url, tls)


def _not_tls(look: _Look, url: str, tls: Tls) -> ServerError | None:
    spoken = look.speaks()
    if spoken is Speaks.HTTP2:
        return ConnectionSetupError(f"{url}: the server speaks plain text; connect without TLS")
    return _not_grpc(url, spoken)


def _not_grpc(url: str, spoken: Speaks) -> ServerError | None:
    if spoken is Speaks.HTTP1:
        return _http1(url)
    if spoken is Speaks.OTHER:
        return ConnectionSetupError(f"{url}: what listens there speaks neither gRPC nor HTTP; check the address")
    return None


def _after_handshake(secure: ssl.SSLSocket, url: str, tls: Tls) -> ServerError | None:
    """The cause if the server ends the connection after the handshake. Raises: ssl.SSLError with the server's alert."""
    try:
        answer = _first_bytes(secure)
    except TimeoutError:
        return None
    except (ConnectionError, ssl.SSLEOFError):
        answer = b""
    if answer.startswith(b"HTTP/"):
        return _http1(url)
    # With TLS 1.3 the server checks the client's certificate after the handshake; gRPC's then closes without a word.
    # A proxy whose server is down does so too, hence an error that may pass.
    return None if answer else ServerUnavailableError(_certificate_text(url, tls, "without a reason"))


def _first_bytes(secure: ssl.SSLSocket) -> bytes:
    """What the server sends after the handshake. Raises: OSError."""
    left_s = secure.gettimeout() or LOOK_S
    # An alert is lost if the server closes while bytes to it are on their way.
    secure.settimeout(LISTEN_S)
    with suppress(TimeoutError):
        return secure.recv(9)
    secure.settimeout(left_s)
    secure.sendall(_HTTP2_PREFACE)
    return secure.recv(9)


def _http1(url: str) -> ServerError:
    return ConnectionSetupError(
        f"{url}: an HTTP port, such as Triton's HTTP or metrics port; give the gRPC port, 8001 by default"
    )


def _certificate_refused(url: str, name: str, error: ssl.SSLCertVerificationError) -> ServerError:
    if error.verify_code in _WRONG_NAMES:
        text = f"the server's certificate is not for {name!r}; connect by a name in it, or give Tls(server_name=…) "
        return ConnectionSetupError(f"{url}: {text}(--tls-server-name)")
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return ConnectionSetupError(f"{url}: {error.verify_message}: renew the server's certificate, or set the clock")
    return ConnectionSetupError(
        f"{url}: the server's certificate is of an unknown authority ({error.verify_message}); "
        "give its authority with Tls(root_certificates=…) (--tls-ca)"
    )


def _certificate_text(url: str, tls: Tls, reason: str) -> str:
    ended = f"{url}: the server ended the TLS connection after the handshake ({reason}), most likely because it"
    if tls.certificate_chain is None:
        return (
            f"{ended} asks for a client certificate; give Tls(private_key=…, certificate_chain=…) "
            "(--tls-key, --tls-cert)"
        )
    return f"{ended} refuses the client certificate {tls.certificate_chain}; give one that its authority has signed"


class _Look:
    """Connections to one address until a deadline."""

    def __init__(self, address: tuple[str, int], deadline: float) -> None:
        self.address, self._deadline = address, deadline

    def connect(self) -> socket.socket:
        """A new connection. Raises: OSError."""
        left_s = max(0.05, self._deadline - time.monotonic())
        return socket.create_connection(self.address, timeout=left_s)

    def speaks(self) -> Speaks:
        """The protocol of the port. Raises: OSError if it can't be reached."""
        answer = self._answer(_HTTP2_PREFACE)
        if answer.startswith(b"HTTP/"):
            return Speaks.HTTP1
        if len(answer) > 3 and answer[3] == _SETTINGS:
            return Speaks.HTTP2
        if _is_tls(answer) or self._says_hello():
            return Speaks.TLS
        if answer:
            return Speaks.OTHER
        return Speaks.HTTP1 if self._answer(_HTTP1_REQUEST).startswith(b"HTTP/") else Speaks.NOTHING

    def _answer(self, data: bytes) -> bytes:
        with self.connect() as connection, suppress(TimeoutError, ConnectionError):
            connection.sendall(data)
            return connection.recv(16)
        return b""

    def _says_hello(self) -> bool:
        """Whether a TLS handshake begins. Nothing is trusted or sent over it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        begun, ended = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = context.wrap_bio(ended, begun)
        with suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        return _is_tls(self._answer(begun.read()))


def _is_tls(answer: bytes) -> bool:
    return len(answer) > 1 and answer[0] in (_ALERT, _HANDSHAKE) and answer[1] == 3


def _proxy() -> bool:
    return any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy"))
