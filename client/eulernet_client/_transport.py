"""Where to call, how often, for how long, and what a gRPC error means. Holds no connection: client.py and aio.py do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenacity import RetryCallState, retry_if_exception_type, stop_before_delay, wait_exponential, wait_random
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

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 30.0
QUERY_TIMEOUT_S = 5.0  # for questions that need no inference: version, readiness, configuration
END_TIMEOUT_S = 2.0  # for the END of a stream that is closed: nobody waits for its answer
DOWN_S = 5.0  # a server that failed is asked last for so long
MAY_RETRY = (ServerUnavailableError, RequestTimeoutError)  # another try, or another server, may well succeed
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 1.0

# The default is to wait up to 120 s before connecting again: too long for a server that restarts. The other numbers are
# tritonclient's own, which any argument of ours replaces.
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # in truth the time that one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]
# A proxy named in http_proxy can't reach this machine's own servers, and gRPC asks it unless no_proxy names them.
NO_PROXY = ("grpc.enable_http_proxy", 0)
LOOPBACK = ("localhost:", "127.", "[::1]:")


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files; all may be left out to trust what the system trusts."""

    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None


@dataclass(frozen=True)
class Connection:
    """How to reach the servers: `urls` as host:port; `timeout_s` for a call with all its retries; TLS; gRPC headers."""

    urls: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(
        cls, urls: str | Sequence[str], timeout_s: float, tls: Tls | None, headers: Mapping[str, str] | None
    ) -> Connection:
        """Checks what the user gave.

        Raises:
            ValueError: names the value and what it should look like.
        """
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        if not urls:
            raise ValueError("urls is empty: give at least one server as host:port")
        for url in urls:
            if "://" in url or ":" not in url:
                raise ValueError(f"{url!r}: give the server's gRPC address as host:port, such as {DEFAULT_URL}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s={timeout_s}: must be above 0")
        # gRPC takes lower-case metadata keys only.
        return cls(urls, float(timeout_s), tls, {key.lower(): value for key, value in (headers or {}).items()})

    def channel(self, url: str) -> dict[str, Any]:
        """Arguments of tritonclient's InferenceServerClient, the same for sync and asyncio."""
        proxy = [NO_PROXY] if url.startswith(LOOPBACK) else []
        arguments: dict[str, Any] = {"url": url, "channel_args": [*CHANNEL_ARGUMENTS, *proxy]}
        if self.tls is not None:
            arguments |= {
                "ssl": True,
                "root_certificates": self.tls.root_certificates,
                "private_key": self.tls.private_key,
                "certificate_chain": self.tls.certificate_chain,
            }
        return arguments


class Endpoints:
    """Gives every call its order of servers: round robin, with those that failed lately at the end."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._failed_at = [float("-inf")] * len(self.urls)
        self._turn = -1

    def order(self) -> list[int]:
        """Numbers of the servers, in the order to try them."""
        self._turn += 1
        count = len(self.urls)
        turn = [(self._turn + i) % count for i in range(count)]
        now = time.monotonic()
        return sorted(turn, key=lambda number: now - self._failed_at[number] < DOWN_S)

    def failed(self, number: int, error: InferenceServerException, model: str = "") -> ServerError:
        """Takes a server's error, and gives the exception that it means."""
        meaning = server_error(error, self.urls[number], model)
        if isinstance(meaning, MAY_RETRY):
            self._failed_at[number] = time.monotonic()
        return meaning

    def answered(self, number: int) -> None:
        self._failed_at[number] = float("-inf")


class Attempts:
    """One call's attempts: which server each goes to and how long it may take.

    Clip calls carry no state and START makes a stream anew, so both may be tried again; frames after START may not.
    """

    def __init__(self, endpoints: Endpoints, timeout_s: float) -> None:
        self._order = endpoints.order()
        self._number = -1
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def next(self) -> tuple[int, float]:
        """The server to ask now and the seconds it has."""
        self._number += 1
        left_s = max(0.001, self._deadline - time.monotonic())
        several = len(self._order) > 1
        # A server that is silent must leave time to ask another.
        return self._order[self._number % len(self._order)], left_s / 2 if several else left_s

    def retrying(self) -> dict[str, Any]:
        """Arguments of tenacity's Retrying and AsyncRetrying."""
        backoff = wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S) + wait_random(0, _FIRST_WAIT_S)

        def wait(state: RetryCallState) -> float:
            # All servers first, at once; then again after a pause.
            return 0.0 if state.attempt_number % len(self._order) else backoff(state)

        return {
            "stop": stop_before_delay(self._timeout_s),
            "wait": wait,
            "retry": retry_if_exception_type(MAY_RETRY),
            "reraise": True,
        }


def server_error(error: InferenceServerException, url: str, model: str = "") -> ServerError:
    """What a gRPC error of Triton means: an exception that names the server, the trouble and the remedy."""
    code = str(error.status() or "").removeprefix("StatusCode.")
    text = " ".join(str(error.message() or "").split())
    where = f"{url}: {model}" if model else url
    if code == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(f"{where}: no answer in time; raise the timeout or see if the server is overloaded")
    if code == "UNAVAILABLE" and "restricted" in text:
        return RequestRefusedError(f"{where}: {text}; pass that header to the client")
    if code == "UNAVAILABLE" and ("maximum queue size" in text or "timeout expired" in text):
        return ServerBusyError(f"{where}: {text}; send less at a time or add a replica")
    if code == "UNAVAILABLE" and "model" in text:
        return ServerUnavailableError(f"{where}: {text}; the server is up, its model is not: see the server's log")
    if code == "UNAVAILABLE":
        reason = text.rpartition(": ")[2]  # gRPC tells the whole way down to it
        return ServerUnavailableError(
            f"{where}: no server answers ({reason}); check the address, or start one with `eulernet serve`"
        )
    if "START flag" in text:
        return SequenceError(f"{where}: {text}")
    if code == "INTERNAL" and "not healthy" in text:
        return ServerUnavailableError(f"{where}: {text}; a stage of the ensemble has died: restart the server")
    if code in {"INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED", "CANCELLED"}:
        return ServerFailedError(f"{where}: {code}: {text}; see the server's log")
    return RequestRefusedError(f"{where}: {code or 'error'}: {text}")
