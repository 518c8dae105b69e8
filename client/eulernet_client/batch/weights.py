"""Keeps one model's scores in one table: asks every server for its weights before a batch, during it and after it."""

from __future__ import annotations

import asyncio

from tritonclient.utils import InferenceServerException

from eulernet_client._contract import CLIP_MODEL, WEIGHTS_UNKNOWN
from eulernet_client._requests import weights_label
from eulernet_client._transport import QUERY_TIMEOUT_S, server_error
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.journal import Journal
from eulernet_client.errors import OtherWeightsError, RequestRefusedError, ServerError, ServerUnavailableError

CHECK_S = 30.0


async def served_weights(client: AsyncClient) -> str:
    """The label that all servers which answer give; "unknown" where they do not tell.

    Raises:
        OtherWeightsError: they differ.
        ServerError: none answers.
    """
    labels: dict[str, str] = {}
    failure: ServerError | None = None
    for number, url in enumerate(client.urls):
        try:
            labels[url] = await _label(client, number)
        except ServerError as error:
            failure = error
    if not labels and failure is not None:
        raise failure
    if len(set(labels.values())) > 1:
        each = ", ".join(f"{url} has {label!r}" for url, label in labels.items())
        raise OtherWeightsError(f"the servers' weights differ ({each}); give servers of one model")
    return next(iter(labels.values()))


async def _label(client: AsyncClient, number: int) -> str:
    """Of one server. A model that is still loading has no label yet."""
    channel, headers = client._channel(number), client._connection.headers
    timeout_s = min(client.timeout_s, QUERY_TIMEOUT_S)
    try:
        if not await channel.is_model_ready(CLIP_MODEL, client_timeout=timeout_s, headers=headers):
            raise ServerUnavailableError(f"{client.urls[number]}: {CLIP_MODEL} is not ready; see the server's log")
        return weights_label(await channel.get_model_config(CLIP_MODEL, client_timeout=timeout_s, headers=headers))
    except InferenceServerException as error:
        meaning = server_error(error, client.urls[number])
        if isinstance(meaning, RequestRefusedError):
            return WEIGHTS_UNKNOWN
        raise meaning from error


class WeightsGuard:
    """Asks again every CHECK_S, since servers are replaced while long batches run.

    What was scored since the label was last known to be right is voided when it has changed.
    """

    def __init__(self, client: AsyncClient, journal: Journal, weights: str) -> None:
        self._client, self._journal, self._weights = client, journal, weights
        self._unsure: list[str] = []

    def scored(self, key: str) -> None:
        """A source was put into the journal."""
        self._unsure.append(key)

    async def watch(self) -> None:
        """Checks until it is cancelled. Raises: OtherWeightsError."""
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Raises: OtherWeightsError, with what may be of other weights voided."""
        asked_of, self._unsure = self._unsure, []
        try:
            now = await served_weights(self._client)
        except OtherWeightsError:
            self._journal.void([*asked_of, *self._unsure])
            raise
        except ServerError:
            self._unsure = [*asked_of, *self._unsure]
            return
        if now != self._weights:
            self._journal.void([*asked_of, *self._unsure])
            raise OtherWeightsError(
                f"the server's weights were {self._weights!r} and are now {now!r}; the scores since it was last asked "
                "are taken back. Choose another --out for the new weights, or start again once the old are back"
            )
