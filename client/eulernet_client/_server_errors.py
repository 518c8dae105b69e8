# SPDX-License-Identifier: Apache-2.0
"""The meaning of gRPC errors: which exception of the client stands for which text of Triton, its stages or gRPC."""

from __future__ import annotations

from collections.abc import Sequence

from tritonclient.utils import InferenceServerException

from eulernet_client.errors import (
    RequestRefusedError,
    RequestTimeoutError,
    SequenceError,
    ServerBusyError,
    ServerError,
    ServerFailedError,
    ServerUnavailableError,
)

_Meanings = Sequence[tuple[tuple[str, ...], type[ServerError], str]]

REFUSED_CONNECTION = "nothing listens on that port"
UNKNOWN_NAME = "the host's name can't be resolved"
_NAMELESS = (
    "DNS resolution failed",
    "errors resolving",
    "C-ares",
    "Domain name not found",
    "Name or service not known",
)
# Texts of gRPC itself when no connection stands. They may contain a host's name, so they are looked for first.
_NO_CONNECTION = (
    "failed to connect to all addresses",
    "Failed to connect to remote host",
    "Connection refused",
    "Socket closed",
    "Connection reset",
    "Broken pipe",
    "Endpoint closing",
    *_NAMELESS,
)
# Texts of Triton and of the stages with the code UNAVAILABLE, in the order to look for them; and the remedy, which the
# stages' own texts have.
_UNAVAILABLE: _Meanings = (
    (("restricted",), RequestRefusedError, "pass that header to the client"),
    (("streams are open",), ServerBusyError, ""),
    (("is draining",), ServerUnavailableError, ""),
    (("too many requests",), ServerBusyError, "send less at a time"),  # a gateway's limit for one caller
    (("gateway got no answer",), ServerUnavailableError, "a replica failed, or none is ready: see the gateway's log"),
    (("maximum queue size", "timeout expired"), ServerBusyError, "send less at a time or add a replica"),
    (("model",), ServerUnavailableError, "the server runs, but its model is not ready: see the server's log"),
)
_FAILURES = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED", "CANCELLED"})
_IDENTITY = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


def server_error(error: InferenceServerException, url: str, model: str = "") -> ServerError:
    """The exception for a gRPC error of Triton: it names the server, the cause and the remedy."""
    code, text = _code(error), _text(error)
    where = f"{url}: {model}" if model else url
    if code == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(
            f"{where}: no answer in time; raise the timeout, or check whether the server is overloaded"
        )
    if code == "UNAVAILABLE":
        return _unavailable(where, text)
    if "START flag" in text or (code == "INVALID_ARGUMENT" and "no state" in text):
        return SequenceError(f"{where}: {text}")
    if code == "INTERNAL" and "not healthy" in text:
        return ServerUnavailableError(f"{where}: {text}; a stage of the ensemble has died: restart the server")
    if code in _FAILURES:
        return ServerFailedError(f"{where}: {code}: {text}; see the server's log")
    if code in _IDENTITY:
        return RequestRefusedError(f"{where}: {code}: {text}; check the token, the headers or the certificate")
    if code == "UNIMPLEMENTED":
        return RequestRefusedError(f"{where}: {code}: {text}; is this the gRPC port of a Triton server?")
    return RequestRefusedError(f"{where}: {code or 'error'}: {text}")


def connection_failed(error: InferenceServerException) -> bool:
    """Whether no connection stands, for a reason that gRPC's text does not tell. A look at the port may tell it."""
    text = _text(error)
    if _code(error) != "UNAVAILABLE" or "Connection refused" in text or any(each in text for each in _NAMELESS):
        return False
    return any(each in text for each in _NO_CONNECTION) or not _meaning(text)


def _unavailable(where: str, text: str) -> ServerError:
    connected = not any(each in text for each in _NO_CONNECTION)
    if connected and (found := _meaning(text)):
        kind, remedy = found
        return kind(f"{where}: {text}; {remedy}" if remedy else f"{where}: {text}")
    if any(each in text for each in _NAMELESS):
        return ServerUnavailableError(f"{where}: {UNKNOWN_NAME}; check the address")
    # The last part of gRPC's chain of reasons; it may be empty or say no more than "OK".
    reason = text.rpartition(": ")[2]
    reason = REFUSED_CONNECTION if "Connection refused" in text else reason if reason not in ("", "OK") else text
    return ServerUnavailableError(
        f"{where}: no server answers ({reason}); check the address, or start one with `eulernet serve`"
    )


def _meaning(text: str) -> tuple[type[ServerError], str] | None:
    for parts, kind, remedy in _UNAVAILABLE:
        if any(each in text for each in parts):
            return kind, remedy
    return None


def _code(error: InferenceServerException) -> str:
    return str(error.status() or "").removeprefix("StatusCode.")


def _text(error: InferenceServerException) -> str:
    return " ".join(str(error.message() or "").split())
