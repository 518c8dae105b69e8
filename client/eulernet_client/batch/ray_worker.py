# SPDX-License-Identifier: Apache-2.0
"""A worker of a Ray cluster: reads sources, calls the servers and answers rows. Imports no Ray.

Pictures go from the worker to the server. Through Ray go paths and rows only, as JSON, which preserves file names that
are not UTF-8.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eulernet_client._connection import MB
from eulernet_client._credentials import Tls, Token
from eulernet_client._requests import ServedModel
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.pipeline import Pipeline, Settings
from eulernet_client.batch.row import Scored
from eulernet_client.batch.weights import CHECK_S
from eulernet_client.errors import CredentialsError, OtherWeightsError, RayClusterError, ServerError


class OneCpu(Settings):
    """Settings of an actor that has one CPU of its node."""

    @property
    def decoder_threads(self) -> int:
        return 1


@dataclass(frozen=True)
class Job:
    """What every worker needs to know.

    Attributes:
        client: arguments of AsyncClient. Files among them must exist on each node.
        settings: of the whole run, or of one actor.
        model: the model that all servers must have.
        version: of this distribution, where the run was started.
    """

    client: dict[str, Any]
    settings: Settings
    model: ServedModel
    version: str

    @classmethod
    def of(cls, client: AsyncClient, settings: Settings, model: ServedModel) -> Job:
        """The job of workers that reach the servers as `client` does.

        Raises:
            CredentialsError: a token is given as text, which Ray would store and send unencrypted.
        """
        connection = client._session.connection
        token = None if connection.token is None else connection.token._token
        if "authorization" in connection.headers or (token is not None and token.value is not None):
            raise CredentialsError(
                "the token would pass through Ray in plain text; give its place on the nodes: --token-file, or "
                "Token(file=…) or Token(variable=…)"
            )
        arguments = {
            "urls": connection.urls,
            "timeout_s": connection.timeout_s,
            "tls": None if connection.tls is None else _absolute_tls(connection.tls),
            "headers": dict(connection.headers),
            "token": None if token is None or token.file is None else Token(file=_absolute(token.file)),
            "plain_text_token": True,  # `client` was refused already where it must not be
            "max_frame_mb": connection.max_frame_bytes / MB,
            "retry": connection.retry,
        }
        if token is not None and token.file is None:
            arguments["token"] = token
        return cls(arguments, settings, model, version("eulernet"))


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _absolute_tls(tls: Tls) -> Tls:
    return replace(
        tls,
        root_certificates=_absolute(tls.root_certificates),
        private_key=_absolute(tls.private_key),
        certificate_chain=_absolute(tls.certificate_chain),
    )


class ArchiveWorker:
    """An asyncio actor: scores blocks of sources, several at once. The pipeline bounds its memory."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._opening: asyncio.Task[_Scorer] | None = None

    async def ready(self) -> str:
        """The node's name, once the actor has started."""
        return socket.gethostname()

    async def score(self, block: str) -> str:
        """Scores a block.

        Args:
            block: absolute paths as a JSON list.

        Returns:
            A JSON object with `host`, and `answers`: for each path an object with `row`, `mark` and `final` of its
            `Scored`. Where the block can't be scored as a whole, such as when a server has other weights, `stop` with
            `type` and `text` of the error takes the place of `answers`: Ray would wrap an exception.
        """
        host = socket.gethostname()
        try:
            if self._opening is None:
                self._opening = asyncio.create_task(_Scorer.open(self._job))
            scorer = await asyncio.shield(self._opening)
            found = await scorer.score([Path(path) for path in json.loads(block)])
        # Whatever goes wrong with the worker itself stops the run, with its reason.
        except Exception as error:
            return json.dumps({"host": host, "stop": {"type": type(error).__name__, "text": str(error) or repr(error)}})
        answers = [{"row": each.row, "mark": each.mark, "final": each.final} for each in found]
        return json.dumps({"host": host, "answers": answers})


class _Scorer:
    """An open client with its pipeline, on the worker's event loop."""

    def __init__(self, job: Job) -> None:
        self._client = AsyncClient(**job.client)
        self._model = job.model
        self._pipeline = Pipeline(self._client, job.settings, job.model.weights)
        self._down_at: dict[int, float] = {}

    @classmethod
    async def open(cls, job: Job) -> _Scorer:
        """Checks the versions and the servers.

        Raises:
            RayClusterError: this node has another version of this distribution.
            CredentialsError: a certificate or the token is missing on this node.
            OtherWeightsError: a server that this node reaches has another model.
        """
        # gRPC reads the variable when it opens its first channel.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        here = version("eulernet")
        if here != job.version:
            raise RayClusterError(
                f"{socket.gethostname()}: has eulernet {here}, the run was started with {job.version}; install the "
                "same version on every node"
            )
        scorer = cls(job)
        await scorer._check()
        return scorer

    async def score(self, paths: list[Path]) -> list[Scored]:
        """Scores a block. The servers had the model before it and after it. Raises: OtherWeightsError."""
        found = await asyncio.gather(*map(self._pipeline.score, paths))
        await self._check()
        return found

    async def _check(self) -> None:
        """Asks each server for its model; one that did not answer is left alone for CHECK_S."""
        for number, url in enumerate(self._client.urls):
            if time.monotonic() - self._down_at.get(number, float("-inf")) < CHECK_S:
                continue
            try:
                now = await self._client._session.served_model(number)
            except ServerError:
                self._down_at[number] = time.monotonic()
                continue
            if now != self._model:
                raise OtherWeightsError(
                    f"{socket.gethostname()}: the server {url} has the weights {now.described}, the run is of "
                    f"{self._model.described}; name servers of one model, or choose another --out"
                )
