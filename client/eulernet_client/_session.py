# SPDX-License-Identifier: Apache-2.0
"""The logic of the clients, written once as coroutines over `Channels`, which do all input and output.

The asyncio client awaits the coroutines. The blocking client runs them with `run_blocking`: its channels block instead
of suspending, so that a coroutine runs to its end in one step, without an event loop.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from tritonclient.utils import InferenceServerException

from eulernet_client._connection import DEFAULT_FRAME_MB, DEFAULT_TIMEOUT_S, DEFAULT_URL, Connection
from eulernet_client._credentials import Tls, Token
from eulernet_client._encoded_frames import encoded_frames, refuse_large
from eulernet_client._identities import Identities
from eulernet_client._port_probe import PortProbe
from eulernet_client._requests import (
    Answer,
    Call,
    ServedModel,
    SourceScores,
    clip_call,
    frames_as_clip,
    served_model,
)
from eulernet_client._result import VideoResult
from eulernet_client._server_errors import connection_failed
from eulernet_client._transport import MAY_RETRY, QUERY_TIMEOUT_S, Attempts, Endpoints, log_failure
from eulernet_client.errors import (
    ClientStateError,
    RequestRefusedError,
    SequenceError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    TooLargeError,
)
from eulernet_client.sources import SourceClip, iter_clips
from eulernet_core.tensors import CLIP_MODEL, FRAME_BYTES, STREAM_MODEL
from eulernet_core.weights_label import WEIGHTS_UNKNOWN

T = TypeVar("T")


class Channels(Protocol):
    """Connections to the servers, the clock and the disk."""

    async def call(self, endpoint: int, method: str, arguments: Mapping[str, Any]) -> Any:
        """Calls a method of tritonclient's InferenceServerClient. Raises: InferenceServerException."""

    async def sleep(self, seconds: float) -> None:
        """Pauses."""

    async def next_clip(self, clips: Iterator[SourceClip]) -> SourceClip | None:
        """Reads the next clip; None at the end."""

    async def look(self, probe: PortProbe) -> ServerError | None:
        """Looks at a server's port; see PortProbe.look."""


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking channel suspended")


class Session:
    """Scores clips and asks servers over `channels`."""

    def __init__(self, connection: Connection, channels: Channels) -> None:
        self.connection, self.channels = connection, channels
        self.endpoints = Endpoints(connection.urls)
        self._identities = Identities(self.endpoints)
        self._probes = [PortProbe(connection, url) for url in connection.urls]
        self._served: ServedModel | None = None
        self._takes_chunks: dict[int, bool] = {}  # by server

    async def score(self, path: str | Path, clips: int, keep_jpegs: bool, at_keyframes: bool) -> VideoResult:
        """See Client.score."""
        scores = SourceScores(str(path), keep_jpegs=keep_jpegs)
        reader = iter_clips(path, clips, at_keyframes=at_keyframes)
        while (clip := await self.channels.next_clip(reader)) is not None:
            try:
                refuse_large(scores.path, clip.frames, self.connection.max_frame_bytes)
            except TooLargeError as error:
                scores.refused(error)
                continue
            scores.add(clip, await self.attempt(clip_call(clip.jpegs)))
        return await self._result(scores)

    async def score_frames(self, jpegs: Sequence[bytes], name: str, keep_jpegs: bool) -> VideoResult:
        """See Client.score_frames."""
        scores = SourceScores(name, keep_jpegs=keep_jpegs)
        clip = frames_as_clip(encoded_frames(jpegs))
        call = clip_call(clip.jpegs)
        refuse_large(name, clip.frames, self.connection.max_frame_bytes)
        scores.add(clip, await self.attempt(call))
        return await self._result(scores)

    async def weights(self) -> str:
        """See Client.weights."""
        return (await self.served()).weights

    async def served(self) -> ServedModel:
        """Label and identity of the served weights, asked for once; "unknown" for what the server does not report."""
        if self._served is None:
            known = self._identities.any()
            try:
                self._served = known or served_model(await self._query("get_model_config", CLIP_MODEL))
            except RequestRefusedError:
                self._served = ServedModel()
            except ServerError:
                return ServedModel()
        return self._served

    async def served_model(self, endpoint: int) -> ServedModel:
        """Label and identity of one server; "unknown" if it does not report them.

        Raises:
            ServerError: it does not answer, or its model is still loading.
        """
        try:
            if not await self._ask(endpoint, "is_model_ready", CLIP_MODEL):
                url = self.connection.urls[endpoint]
                raise ServerUnavailableError(f"{url}: {CLIP_MODEL} is not ready; see the server's log")
            return served_model(await self._ask(endpoint, "get_model_config", CLIP_MODEL))
        except RequestRefusedError:
            return ServedModel()

    async def admit(self, endpoint: int) -> ServedModel:
        """The identity of a server before it gets a request; asks it, unless it is known and can't have changed.

        Raises:
            MixedServersError: the servers differ.
            ServerError: it does not answer.
        """
        known = self._identities.of(endpoint)
        if known is not None:
            return known
        if self._identities.compared:
            model = await self.served_model(endpoint)
            self._identities.learn(endpoint, model)
            return model
        found: dict[int, ServedModel] = {}
        failures: dict[int, ServerError] = {}
        for each in range(len(self.connection.urls)):
            try:
                found[each] = await self.served_model(each)
            except ServerError as error:
                failures[each] = error
        self._identities.compare(found)
        if endpoint in failures:
            raise failures[endpoint]
        return found[endpoint]

    async def takes_chunks(self, endpoint: int) -> bool:
        """Whether a server takes several frames of a stream in one request. It is asked once; no answer means False."""
        if endpoint not in self._takes_chunks:
            try:
                config = (await self._ask(endpoint, "get_model_config", STREAM_MODEL)).config
            except RequestRefusedError:  # some proxies forward inference only
                self._takes_chunks[endpoint] = False
            except ServerError:
                return False  # a single frame will tell what is wrong
            else:
                self._takes_chunks[endpoint] = FRAME_BYTES in [each.name for each in config.input]
        return self._takes_chunks[endpoint]

    def chunk_refused(self, endpoint: int) -> None:
        """Records that a server, perhaps another one behind the same address now, has refused a chunk."""
        self._takes_chunks[endpoint] = False

    async def server_version(self) -> str:
        """See Client.server_version."""
        return str((await self._query("get_server_metadata")).version)

    async def ready(self, model: str) -> bool:
        """See Client.ready."""
        return bool(await self._query("is_model_ready", model))

    async def attempt(self, call: Call) -> Answer:
        """Sends a clip, which may be sent again.

        Raises:
            ServerError: of the last attempt.
        """
        begun = time.monotonic()
        connection = self.connection
        attempts = Attempts(self.endpoints, connection.timeout_s, call.model, retry=connection.retry)

        async def attempt() -> Answer:
            endpoint, timeout_s = attempts.next()
            if len(connection.urls) > 1:
                await self.admit(endpoint)
            return await self.infer(call, endpoint, min(timeout_s, attempts.left_s))

        answer = await attempts.run(self.channels.sleep, attempt)
        return replace(answer, latency_s=time.monotonic() - begun)

    async def infer(self, call: Call, endpoint: int, timeout_s: float) -> Answer:
        """Sends a request once, to one server. Raises: ServerError."""
        begun = time.monotonic()
        result = await self._call(endpoint, "infer", call.arguments(), timeout_s, call.model, call.headers)
        self.endpoints.answered(endpoint)
        return Answer(result, endpoint, time.monotonic() - begun)

    async def _result(self, scores: SourceScores) -> VideoResult:
        known = self._served.weights if self._served else WEIGHTS_UNKNOWN
        ask = scores.scored and self.connection.retry
        return scores.result(await self.weights() if ask else known)

    async def _query(self, method: str, model: str = "") -> Any:
        """Asks the servers in turn until one answers. Raises: ServerError of the last one."""
        urls, order = self.connection.urls, self.endpoints.order()
        for endpoint, next_endpoint in pairwise(order):
            try:
                return await self._ask(endpoint, method, model)
            except ServerError as error:
                log_failure(error, urls[endpoint], model, urls[next_endpoint])
        return await self._ask(order[-1], method, model)

    async def _ask(self, endpoint: int, method: str, model: str) -> Any:
        arguments = {"model_name": model} if model else {}
        return await self._call(endpoint, method, arguments, min(self.connection.timeout_s, QUERY_TIMEOUT_S))

    async def _call(
        self,
        endpoint: int,
        method: str,
        arguments: Mapping[str, Any],
        timeout_s: float,
        model: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        metadata = {**self.connection.metadata(), **(headers or {})}
        given = {**arguments, "client_timeout": timeout_s, "headers": metadata}
        try:
            return await self.channels.call(endpoint, method, given)
        except InferenceServerException as error:
            meaning = self.endpoints.failed(endpoint, error, model)
            if isinstance(meaning, (*MAY_RETRY, SequenceError)) and not isinstance(meaning, ServerBusyError):
                self._identities.forget(endpoint)  # it may have restarted with other weights
                self._takes_chunks.pop(endpoint, None)
            if connection_failed(error):
                meaning = await self.channels.look(self._probes[endpoint]) or meaning
            raise meaning from error


class ClientBase:
    """The constructor and the properties of both clients; see Client for the arguments."""

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        token: Token | str | None = None,
        plain_text_token: bool = False,
        max_frame_mb: float = DEFAULT_FRAME_MB,
        retry: bool = True,
    ) -> None:
        connection = Connection.make(
            urls,
            timeout_s,
            tls,
            headers,
            retry,
            token=token,
            plain_text_token=plain_text_token,
            max_frame_mb=max_frame_mb,
        )
        self._session = Session(connection, self._open(connection))

    def _open(self, connection: Connection) -> Channels:
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        raise ClientStateError(f"{type(self).__name__} can't be pickled or copied; make one in each process")

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses."""
        return self._session.connection.urls

    @property
    def timeout_s(self) -> float:
        """Time for one call with all its retries."""
        return self._session.connection.timeout_s
