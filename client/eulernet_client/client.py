"""The client for threads and scripts. What it sends and how it reads answers is in _requests.py, shared with aio.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tenacity import Retrying
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from eulernet_client._contract import CLIP_MODEL, WEIGHTS_UNKNOWN
from eulernet_client._health import check
from eulernet_client._media import iter_clips
from eulernet_client._requests import Answer, Call, ClipScores, StreamState, clip_call, frames_as_clip, weights_label
from eulernet_client._result import ClipResult, FrameResult, Health
from eulernet_client._transport import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    END_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Attempts,
    Connection,
    Endpoints,
    Tls,
)
from eulernet_client.errors import RequestRefusedError, ServerError


class Client:
    """Scores videos, folders of JPEGs and live streams on one or several EulerNet servers.

    Clips carry no state: they go to the servers in turn, and again to the next one when a server fails. One client may
    be used by several threads.

    Args:
        urls: gRPC address host:port of the server, or several.
        timeout_s: for one call with all its retries.
        tls: to speak TLS; plain text without it.
        headers: gRPC headers of every request, such as an access token.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = Connection.make(urls, timeout_s, tls, headers)
        self._endpoints = Endpoints(self._connection.urls)
        self._channels = [InferenceServerClient(**self._connection.channel(url)) for url in self._connection.urls]
        self._weights: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers' addresses."""
        return self._connection.urls

    @property
    def timeout_s(self) -> float:
        """Time for one call with all its retries."""
        return self._connection.timeout_s

    def score(self, path: str | Path, *, clips: int = 1, keep_jpegs: bool = False) -> ClipResult:
        """Scores a video or a folder of JPEGs.

        Args:
            path: MP4, MOV, AVI, WebM or what else FFmpeg reads; or a folder whose .jpg and .jpeg files are the frames.
            clips: how many clips of 4 frames to take, spread evenly; the liveness is their mean.
            keep_jpegs: keep the frames' bytes in the result, as a report needs them.

        Raises:
            MediaError: the file or folder makes no clip.
            FrameError: a frame could not be scored, such as NoFaceError.
            ServerError: the server, after the retries.
        """
        scores = ClipScores(str(path), keep_jpegs=keep_jpegs)
        for clip in iter_clips(path, clips):
            scores.add(clip, self._attempt(clip_call(clip.jpegs)))
        return scores.result(self.weights() if scores.scored else WEIGHTS_UNKNOWN)

    def score_frames(self, jpegs: Sequence[bytes], *, name: str = "clip", keep_jpegs: bool = False) -> ClipResult:
        """Scores one clip of 4 JPEGs, every 3rd frame of their source. `name` stands for the path."""
        scores = ClipScores(name, keep_jpegs=keep_jpegs)
        scores.add(frames_as_clip(jpegs), self._attempt(clip_call(jpegs)))
        return scores.result(self.weights() if scores.scored else WEIGHTS_UNKNOWN)

    def stream(self, sequence_id: int | str | None = None) -> Stream:
        """Opens a live stream. `sequence_id`: the correlation id; random by default. See Stream."""
        return Stream(self, sequence_id)

    def weights(self) -> str:
        """Label of the weights that score, asked for once; "unknown" where the server does not tell."""
        if self._weights is None:
            try:
                self._weights = weights_label(self._query("get_model_config", CLIP_MODEL))
            except RequestRefusedError:
                self._weights = WEIGHTS_UNKNOWN
            except ServerError:
                return WEIGHTS_UNKNOWN
        return self._weights

    def server_version(self) -> str:
        """Triton's version. Asks every server once and does not wait for one that is starting.

        Raises:
            ServerError: none answered.
        """
        return str(self._query("get_server_metadata").version)

    def ready(self, model: str) -> bool:
        """Whether a model is loaded. A dead stage can go unnoticed here; `check` notices it."""
        return bool(self._query("is_model_ready", model))

    def check(self) -> Health:
        """Sends a picture without a face through both ensembles, so that every stage has to answer.

        Raises:
            ServerError: says what is not well.
        """
        return check(self)

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, call: Call) -> Answer:
        """A call that may be made again: a clip, or the first frame of a stream."""
        begun = time.monotonic()
        attempts = Attempts(self._endpoints, self.timeout_s)
        for attempt in Retrying(**attempts.retrying()):
            with attempt:
                endpoint, timeout_s = attempts.next()
                answer = self._infer(call, endpoint, timeout_s)
        return Answer(answer.result, answer.endpoint, time.monotonic() - begun)

    def _infer(self, call: Call, endpoint: int, timeout_s: float) -> Answer:
        begun = time.monotonic()
        try:
            result = self._channels[endpoint].infer(
                **call.arguments(), client_timeout=timeout_s, headers=self._connection.headers
            )
        except InferenceServerException as error:
            raise self._endpoints.failed(endpoint, error, call.model) from error
        self._endpoints.answered(endpoint)
        return Answer(result, endpoint, time.monotonic() - begun)

    def _query(self, method: str, *arguments: str) -> Any:
        """Asks the servers in turn until one answers."""
        failure: ServerError | None = None
        for endpoint in self._endpoints.order():
            try:
                return getattr(self._channels[endpoint], method)(
                    *arguments,
                    client_timeout=min(self.timeout_s, QUERY_TIMEOUT_S),
                    headers=self._connection.headers,
                )
            except InferenceServerException as error:
                failure = self._endpoints.failed(endpoint, error)
                failure.__cause__ = error
        assert failure is not None  # there is at least one server
        raise failure


class Stream:
    """A live stream: one JPEG a call, in order, all to one server. Use it in a `with` block.

    The first frame carries START. `last=True` carries END; without it, leaving the block sends END on its own. A frame
    that cannot be scored comes back with its STATUS instead of raising: the stream goes on.
    """

    def __init__(self, client: Client, sequence_id: int | str | None = None) -> None:
        self._client = client
        self._state = StreamState(sequence_id)
        self._endpoint: int | None = None
        self._lock = threading.Lock()

    @property
    def sequence_id(self) -> int | str:
        """The correlation id."""
        return self._state.sequence_id

    def score(self, jpeg: bytes, *, last: bool = False) -> FrameResult:
        """Scores the next frame.

        Raises:
            StreamLostError: play the stream again from its first frame.
            ServerError: the first frame could not be delivered; it may be tried again.
        """
        with self._lock:
            call = self._state.call(jpeg, last)
            try:
                if self._endpoint is None:
                    answer = self._client._attempt(call)
                    self._endpoint = answer.endpoint
                else:
                    answer = self._client._infer(call, self._endpoint, self._client.timeout_s)
            except BaseException as error:
                lost = self._state.failed(error)
                if lost is None:
                    raise
                raise lost from error
            return self._state.answered(answer, last)

    def close(self) -> None:
        """Send END if it has not been sent, so that the server's slot is free at once. Never raises a ServerError."""
        with self._lock:
            call = self._state.closing_call()
            if call is not None and self._endpoint is not None:
                # A slot whose END was lost is freed by the server's idle timeout.
                with suppress(ServerError):
                    self._client._infer(call, self._endpoint, min(self._client.timeout_s, END_TIMEOUT_S))

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
