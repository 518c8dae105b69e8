# SPDX-License-Identifier: Apache-2.0
"""Retries, and the order of the servers. The connections are in client.py and aio.py."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_exponential
from tritonclient.utils import InferenceServerException

from eulernet_client._server_errors import server_error
from eulernet_client.errors import (
    ConnectionSetupError,
    MixedServersError,
    RequestTimeoutError,
    SequenceError,
    ServerError,
    ServerFailedError,
    ServerUnavailableError,
)

log = logging.getLogger("eulernet_client")
Result = TypeVar("Result")

QUERY_TIMEOUT_S = 5.0  # for queries without inference: version, readiness, configuration
END_TIMEOUT_S = 2.0  # for the END of a closed stream, whose response is not used
DOWN_S = 5.0  # a server that failed comes last in the order for this time
# Errors that may pass, or not occur on another server.
MAY_RETRY = (ServerUnavailableError, RequestTimeoutError, ServerFailedError)
REPLAY_SPREAD_S = 0.5  # the streams of a server that has died begin their replays within this time
_JITTER = (0.5, 1.5)
_BACKOFF = wait_exponential(multiplier=0.1, max=1.0)


class Endpoints:
    """Gives each call its order of servers: round robin, with recently failed ones at the end.

    Attributes:
        refused: numbers of the servers whose identity is not the one of this client's other servers.
        answered_at: time of each server's last answer, on the monotonic clock.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self.refused: set[int] = set()
        self.answered_at = [float("-inf")] * len(self.urls)
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

    def refuse(self, number: int) -> None:
        """Records that a server has another identity."""
        self.refused.add(number)
        self._failed_at[number] = time.monotonic()

    def answered(self, number: int) -> None:
        """Records that a server answered."""
        self._failed_at[number] = float("-inf")
        self.answered_at[number] = time.monotonic()


class Attempts:
    """The attempts of one call: the server and the timeout of each.

    A clip carries no state and START begins a stream anew, so both may be sent again. A later frame of a stream may be
    sent again only after the frames before it.

    Args:
        endpoints: the servers.
        timeout_s: for all attempts.
        model: for the log.
        retry: False: one attempt.
        home: the server that is tried first, since it has the stream's state.
        replays: the call's stream can be replayed, so its state may be lost.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        timeout_s: float,
        model: str = "",
        *,
        retry: bool = True,
        home: int | None = None,
        replays: bool = False,
    ) -> None:
        self._endpoints, self._urls, self._model = endpoints, endpoints.urls, model
        self._retry, self._home, self._replays = retry, home, replays
        self._number = -1
        self._deadline = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Time left for all attempts."""
        return max(0.001, self._deadline - time.monotonic())

    def next(self) -> tuple[int, float]:
        """The server of the next attempt and the timeout of its requests in seconds."""
        self._number += 1
        # A server that does not answer must leave time for another one.
        halved = self._retry and len(self._urls) > 1
        return self._endpoint(self._number), self.left_s / 2 if halved else self.left_s

    async def run(self, sleep: Callable[[float], Awaitable[None]], attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Calls `attempt` until it succeeds, fails for good, or the time is over.

        Raises: ServerError of the last attempt.
        """
        try:
            return await attempt()
        except Exception as error:
            if not (self._retry and self._may_pass(error)):
                raise
            failed: Exception | None = error

        async def again() -> Result:
            nonlocal failed
            if failed is not None:
                error, failed = failed, None
                raise error
            return await attempt()

        # Made only now: it takes time, and most calls need no second attempt.
        retrying = AsyncRetrying(
            sleep=sleep,
            stop=stop_before_delay(self.left_s),
            wait=self._wait,
            retry=retry_if_exception(self._may_pass),
            before_sleep=self._log,
            reraise=True,
        )
        return await retrying(again)

    @cached_property
    def _order(self) -> list[int]:
        # Asked for when it is needed: a frame that its stream's server answers takes no turn.
        return self._endpoints.order()

    def _endpoint(self, number: int) -> int:
        if self._home is None:
            return self._order[number % len(self._urls)]
        return self._order[(number - 1) % len(self._urls)] if number else self._home

    def _wait(self, state: RetryCallState) -> float:
        # Every server once without a pause; then each again after one. Replays never begin all at once.
        spread_s = random.uniform(0, REPLAY_SPREAD_S) if self._replays else 0.0
        tried_all = state.attempt_number % len(self._urls) == 0
        return spread_s + (_BACKOFF(state) * random.uniform(*_JITTER) if tried_all else 0.0)

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, MixedServersError):
            return 0 < len(self._endpoints.refused) < len(self._urls)
        if isinstance(error, ConnectionSetupError):
            # Time does not mend a wrong port or certificate; another server may serve the call.
            return self._number + 1 < len(self._urls)
        return isinstance(error, MAY_RETRY) or (self._replays and isinstance(error, SequenceError))

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
