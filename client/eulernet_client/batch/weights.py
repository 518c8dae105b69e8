# SPDX-License-Identifier: Apache-2.0
"""Keeps a table to the scores of one model: asks every server for its weights before, during and after a batch."""

from __future__ import annotations

import asyncio

from eulernet_client._requests import ServedModel
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.journal import Journal
from eulernet_client.errors import OtherWeightsError, ServerError

CHECK_S = 30.0


async def served_model(client: AsyncClient) -> ServedModel:
    """The common label and identity of all servers that answer; "unknown" if they do not report them.

    Raises:
        OtherWeightsError: they differ.
        ServerError: no server answers.
    """
    models: dict[str, ServedModel] = {}
    failure: ServerError | None = None
    for number, url in enumerate(client.urls):
        try:
            models[url] = await client._session.served_model(number)
        except ServerError as error:
            failure = error
    if not models and failure is not None:
        raise failure
    if len(set(models.values())) > 1:
        each = ", ".join(f"{url} has {model.described}" for url, model in models.items())
        raise OtherWeightsError(f"the servers' weights differ ({each}); name servers of one model")
    return next(iter(models.values()))


class WeightsGuard:
    """Asks again every CHECK_S, since servers may be replaced during a long batch.

    When label or identity have changed, the scores since the last successful check are withdrawn.
    """

    def __init__(self, client: AsyncClient, journal: Journal, model: ServedModel) -> None:
        self._client, self._journal, self._model = client, journal, model
        self._unsure: list[str] = []

    def scored(self, key: str) -> None:
        """A source was added to the journal."""
        self._unsure.append(key)

    async def watch(self) -> None:
        """Checks until it is cancelled. Raises: OtherWeightsError."""
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Raises: OtherWeightsError, after withdrawing the scores that may be of other weights."""
        asked_of, self._unsure = self._unsure, []
        try:
            now = await served_model(self._client)
        except OtherWeightsError:
            self._journal.void([*asked_of, *self._unsure])
            raise
        except ServerError:
            self._unsure = [*asked_of, *self._unsure]
            return
        if now != self._model:
            self._journal.void([*asked_of, *self._unsure])
            raise OtherWeightsError(
                f"the server's weights were {self._model.described} and are now {now.described}; the scores since "
                "the last check are withdrawn. Choose another --out for the new weights, or start again with the old"
            )
