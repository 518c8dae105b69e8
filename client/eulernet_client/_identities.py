# SPDX-License-Identifier: Apache-2.0
"""The identity of each server, weights and precision, so that one client never mixes scores of different ones."""

from __future__ import annotations

import time
from collections.abc import Mapping

from eulernet_client._requests import ServedModel
from eulernet_client._transport import Endpoints
from eulernet_client.errors import MixedServersError

FRESH_S = 2.0  # a server that has answered within this time has not restarted since: that takes longer


class Identities:
    """What the servers of one client have reported.

    All servers are compared before the first request. Later each is compared with the first ones: before its first
    request, after a failure and after a pause, since it may have restarted with other weights.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._trusted: dict[int, ServedModel] = {}
        self._told_at: dict[int, float] = {}
        self._common: str | None = None

    @property
    def compared(self) -> bool:
        """Whether the servers have been compared, and any has answered."""
        return self._common is not None

    def of(self, number: int) -> ServedModel | None:
        """What a server has reported, if it has not failed or paused since."""
        heard = max(self._told_at.get(number, float("-inf")), self._endpoints.answered_at[number])
        return self._trusted.get(number) if time.monotonic() - heard < FRESH_S else None

    def any(self) -> ServedModel | None:
        """What any server has reported that has not failed since."""
        return next(iter(self._trusted.values()), None)

    def compare(self, found: Mapping[int, ServedModel]) -> None:
        """Takes the first reports. Raises: MixedServersError."""
        if len({model.identity for model in found.values()}) > 1:
            each = ", ".join(f"{self._endpoints.urls[number]} has {found[number].identity!r}" for number in found)
            raise MixedServersError(f"the servers' weights or precisions differ ({each}); name servers of one model")
        for number, model in found.items():
            self._trust(number, model)
            self._common = model.identity

    def learn(self, number: int, model: ServedModel) -> None:
        """Takes a later report. Raises: MixedServersError, and then the server gets no request."""
        urls = self._endpoints.urls
        if len(urls) > 1 and model.identity != self._common:
            self._endpoints.refuse(number)
            raise MixedServersError(
                f"{urls[number]} has {model.identity!r}, this client's servers had {self._common!r}: the scores would "
                "be of two models; make a new client to use the new one"
            )
        self._endpoints.refused.discard(number)
        self._trust(number, model)

    def forget(self, number: int) -> None:
        """A server failed: it has to report again."""
        self._trusted.pop(number, None)

    def _trust(self, number: int, model: ServedModel) -> None:
        self._trusted[number], self._told_at[number] = model, time.monotonic()
