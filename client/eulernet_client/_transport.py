# SPDX-License-Identifier: Apache-2.0
"""Server addresses, timeouts, retries, and the meaning of gRPC errors. The connections are in client.py and aio.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)
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

log = logging.getLogger("eulernet_client")

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 30.0
QUERY_TIMEOUT_S = 5.0  # for queries without inference: version, readiness, configuration
END_TIMEOUT_S = 2.0  # for the END of a closed stream, whose response is not used
DOWN_S = 5.0  # a server that failed comes last in the order for this time
MAY_RETRY = (ServerUnavailableError, RequestTimeoutError)  # errors that may pass, or not occur on another server
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 1.0

# gRPC's default waits up to 120 s before it connects again, too long for a server that restarts. The message lengths
# are tritonclient's defaults, which it drops when it gets channel arguments.
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # the time limit of one attempt to connect, despite its name
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]
# gRPC would send requests to this machine's own servers through the proxy in http_proxy, which can't reach them.
NO_PROXY = ("grpc.enable_http_proxy", 0)
LOOPBACK = ("localhost:", "127.", "[::1]:")


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files. Without any, the system's certificates are trusted."""

    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None


@dataclass(frozen=True)
class Connection:
    """How to reach the servers.

    Attributes:
        urls: addresses, host:port.
        timeout_s: for one call with all its retries.
        tls: certificates, or None for plain text.
        headers: gRPC headers of every request, keys in lower case.
        retry: whether a request is sent again after an error that may pass.
    """

    urls: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry: bool = True

    @classmethod
    def make(
        cls,
        urls: str | Sequence[str],
        timeout_s: float,
        tls: Tls | None,
        headers: Mapping[str, str] | None,
        retry: bool = True,
    ) -> Connection:
        """Checks the user's values.

        Raises:
            ValueError: names the value and the expected form.
        """
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        if not urls:
            raise ValueError("urls is empty: give at least one server as host:port")
        for url in urls:
            if "://" in url or ":" not in url:
                raise ValueError(f"{url!r}: give the server's gRPC address as host:port, such as {DEFAULT_URL}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s={timeout_s}: must be above 0")
        lower = {key.lower(): value for key, value in (headers or {}).items()}  # gRPC refuses keys in upper case
        return cls(urls, float(timeout_s), tls, lower, retry)

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
    """Gives each call its order of servers: round robin, with recently failed ones at the end."""

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
        """Records a server's error and returns the exception to raise for it."""
        meaning = server_error(error, self.urls[number], model)
        if isinstance(meaning, MAY_RETRY):
            self._failed_at[number] = time.monotonic()
        return meaning

    def answered(self, number: int) -> None:
        """Records that a server answered."""
        self._failed_at[number] = float("-inf")


class Attempts:
    """The attempts of one call: the server and the timeout of each.

    Clip calls carry no state and START begins a stream anew, so both may be sent again; frames after START may not.
    """

    def __init__(self, endpoints: Endpoints, timeout_s: float, model: str = "", *, retry: bool = True) -> None:
        self._urls, self._model, self._retry = endpoints.urls, model, retry
        self._order = endpoints.order()
        self._number = -1
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def next(self) -> tuple[int, float]:
        """The server of the next attempt and its timeout in seconds."""
        self._number += 1
        left_s = max(0.001, self._deadline - time.monotonic())
        # A server that does not answer must leave time for another one.
        halved = self._retry and len(self._order) > 1
        return self._endpoint(self._number), left_s / 2 if halved else left_s

    def retrying(self) -> dict[str, Any]:
        """Arguments of tenacity's AsyncRetrying."""
        backoff = wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S) + wait_random(0, _FIRST_WAIT_S)

        def wait(state: RetryCallState) -> float:
            # Every server once without a pause; then each again after one.
            return 0.0 if state.attempt_number % len(self._order) else backoff(state)

        return {
            "stop": stop_before_delay(self._timeout_s) if self._retry else stop_after_attempt(1),
            "wait": wait,
            "retry": retry_if_exception_type(MAY_RETRY),
            "before_sleep": self._log,
            "reraise": True,
        }

    def _endpoint(self, number: int) -> int:
        return self._order[number % len(self._order)]

    def _log(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        log_failure(
            error, self._urls[self._endpoint(self._number)], self._model, self._urls[self._endpoint(self._number + 1)]
        )


def log_failure(error: BaseException | None, server: str, model: str, next_server: str) -> None:
    """Logs a retry or a failover: a failed request that is sent again, to the same or to another server.

    The record has the attributes `event`, `server`, `model` and `error`.
    """
    event, name = ("retry" if next_server == server else "failover"), type(error).__name__
    fields = {"event": event, "server": server, "model": model, "error": name}
    log.info("%s: %s: %s, sent again to %s (%s)", server, model or "query", name, next_server, event, extra=fields)


def server_error(error: InferenceServerException, url: str, model: str = "") -> ServerError:
    """The exception for a gRPC error of Triton: it names the server, the cause and the remedy."""
    code = str(error.status() or "").removeprefix("StatusCode.")
    text = " ".join(str(error.message() or "").split())
    where = f"{url}: {model}" if model else url
    if code == "DEADLINE_EXCEEDED":
        return RequestTimeoutError(
            f"{where}: no answer in time; raise the timeout, or check whether the server is overloaded"
        )
    if code == "UNAVAILABLE" and "restricted" in text:
        return RequestRefusedError(f"{where}: {text}; pass that header to the client")
    if code == "UNAVAILABLE" and ("maximum queue size" in text or "timeout expired" in text):
        return ServerBusyError(f"{where}: {text}; send less at a time or add a replica")
    if code == "UNAVAILABLE" and "model" in text:
        return ServerUnavailableError(
            f"{where}: {text}; the server runs, but its model is not ready: see the server's log"
        )
    if code == "UNAVAILABLE":
        reason = text.rpartition(": ")[2]  # the last part of gRPC's chain of reasons
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
