# SPDX-License-Identifier: Apache-2.0
"""Certificates and tokens: read and checked when a client is made, never shown in a message, a log or a repr."""

from __future__ import annotations

import logging
import os
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from eulernet_client.errors import CredentialsError

log = logging.getLogger("eulernet_client")

LONGEST_TOKEN = 16_384  # characters; servers accept no longer headers
_BEGIN = b"-----BEGIN "


@dataclass(frozen=True)
class Tls:
    """PEM files for a connection with TLS. Without any, gRPC's own list of public authorities is trusted.

    Attributes:
        root_certificates: path of the certificates to trust, in place of that list.
        private_key: path of this client's key, for a server that asks for a certificate (mutual TLS).
        certificate_chain: path of the certificate that belongs to the key.
        server_name: name to expect in the server's certificate, if it is not the host of the address.
    """

    root_certificates: str | Path | None = None
    private_key: str | Path | None = None
    certificate_chain: str | Path | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class PemFiles:
    """The contents of a Tls. None where no file is given."""

    root_certificates: bytes | None = field(default=None, repr=False)
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, tls: Tls) -> PemFiles:
        """Reads and checks the files.

        Raises:
            CredentialsError: a file can't be read or is not PEM, or key and certificate don't belong together.
        """
        if (tls.private_key is None) != (tls.certificate_chain is None):
            raise CredentialsError("mutual TLS needs private_key and certificate_chain: give both or none")
        files = cls(
            _pem(tls.root_certificates, "certificates"),
            _pem(tls.private_key, "private key"),
            _pem(tls.certificate_chain, "certificate"),
        )
        if files != cls():
            tls_context(tls)
        return files


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Python's TLS context with the same certificates.

    Raises:
        CredentialsError: OpenSSL refuses one of them.
    """
    context = ssl.create_default_context() if tls.root_certificates is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.root_certificates is not None:
        try:
            context.load_verify_locations(tls.root_certificates)
        except ssl.SSLError as error:
            raise CredentialsError(f"{tls.root_certificates}: holds no valid certificate; export it again") from error
    if tls.certificate_chain is not None:
        _load_own(context, tls)
    return context


def _load_own(context: ssl.SSLContext, tls: Tls) -> None:
    """Adds this client's certificate and key."""
    assert tls.certificate_chain is not None

    def no_password() -> NoReturn:
        raise CredentialsError(f"{tls.private_key}: the key is encrypted; give one without a password")

    try:
        context.load_cert_chain(tls.certificate_chain, tls.private_key, no_password)
    except ssl.SSLError as error:
        both = f"{tls.certificate_chain} and {tls.private_key}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CredentialsError(f"{both}: the key does not belong to the certificate") from error
        raise CredentialsError(f"{both}: not a valid certificate with its key ({error.reason})") from error


def _pem(path: str | Path | None, content: str) -> bytes | None:
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{content}: {type(path).__name__}; give the path of a PEM file")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: {content} can't be read ({error.strerror}); check the path") from error
    if _BEGIN not in data:
        raise CredentialsError(
            f"{path}: not a PEM file; give the {content} as PEM, which has a line {_BEGIN.decode()}…"
        )
    return data


@dataclass(frozen=True)
class Token:
    """A bearer token, from one place. Every request carries it as `authorization: Bearer TOKEN`.

    Attributes:
        value: the token itself.
        file: path of a file that holds the token; read again when it changes.
        variable: name of an environment variable that holds it; read for every request.

    Raises:
        ValueError: not exactly one of them is given.
    """

    value: str | None = field(default=None, repr=False)
    file: str | Path | None = None
    variable: str | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.value, self.file, self.variable)) != 1:
            raise ValueError("a token has one place: give value, file or variable")


class TokenReader:
    """Reads a Token for each request. A file is opened only when it has changed.

    Raises:
        CredentialsError: at first, there is no token at the place.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._text = self._checked(self._read())

    def __repr__(self) -> str:
        return f"TokenReader({self._token!r})"

    def header(self) -> str:
        """The value of the header `authorization`. A token that can't be read any more stays the one read last."""
        with self._lock:
            try:
                self._text = self._checked(self._read())
            except CredentialsError as error:
                log.warning("%s; the token read before is used", error, extra={"event": "token"})
            return f"Bearer {self._text}"

    def _read(self) -> str:
        place = self._token
        if place.value is not None:
            return place.value
        if place.variable is not None:
            return os.environ.get(place.variable, "").strip()
        assert place.file is not None
        try:
            found = Path(place.file).stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
            if stamp == self._stamp:
                return self._text
            with Path(place.file).open("rb") as file:
                data = file.read(LONGEST_TOKEN + 3)  # with a line break, and one more to notice a longer file
        except OSError as error:
            raise CredentialsError(f"{place.file}: token can't be read ({error.strerror}); check the path") from error
        self._stamp = stamp
        return data.decode("utf-8", "replace").strip()

    def _checked(self, text: str) -> str:
        place = self._token.file or (f"${self._token.variable}" if self._token.variable else "token")
        if not text:
            raise CredentialsError(f"{place}: holds no token")
        if len(text) > LONGEST_TOKEN or not all("!" <= each <= "~" for each in text):
            self._stamp = None
            raise CredentialsError(
                f"{place}: not a token; give up to {LONGEST_TOKEN:,} printable ASCII characters without spaces"
            )
        return text


def token_reader(token: Token | str | None) -> TokenReader | None:
    """The reader of a token given to a client. Raises: CredentialsError, TypeError."""
    if token is None:
        return None
    if isinstance(token, str):
        token = Token(value=token)
    if not isinstance(token, Token):
        raise _wrong_type("token", token, "a text or Token(file=…)")
    return TokenReader(token)


def pem_files(tls: Tls | None) -> PemFiles | None:
    """The files of a Tls given to a client. Raises: CredentialsError, TypeError."""
    if tls is None:
        return None
    if not isinstance(tls, Tls):
        raise _wrong_type("tls", tls, "Tls(root_certificates=…)")
    return PemFiles.of(tls)


def _wrong_type(name: str, value: Any, wanted: str) -> TypeError:
    # The value may be a secret: its type is enough.
    return TypeError(f"{name}: {type(value).__name__}; give {wanted}")
