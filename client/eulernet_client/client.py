# SPDX-License-Identifier: Apache-2.0
"""The blocking client, for threads and scripts. Its logic is in _session.py, shared with the asyncio client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tritonclient.grpc import InferenceServerClient

from eulernet_client._channel_guard import ChannelGuard
from eulernet_client._connection import Connection
from eulernet_client._health import check
from eulernet_client._port_probe import PortProbe
from eulernet_client._replay import DEFAULT_REPLAY_MB
from eulernet_client._result import FrameResult, Health, VideoResult
from eulernet_client._session import ClientBase, run_blocking
from eulernet_client._stream_session import StreamBase
from eulernet_client.errors import ServerError
from eulernet_client.sources import SourceClip


class _BlockingChannels:
    """Channels whose calls block. Each is opened at its first call: until then, the client may be forked."""

    def __init__(self, connection: Connection) -> None:
        self.guard = ChannelGuard()
        self._connection = connection
        self._lock = threading.Lock()
        self._clients: dict[int, InferenceServerClient] = {}

    async def call(self, endpoint: int, method: str, arguments: Mapping[str, Any]) -> Any:
        self.guard.check()
        try:
            return getattr(self._client(endpoint), method)(**arguments)
        except Exception:
            self.guard.check_open()  # another thread may have closed the client; gRPC then raises errors of its own
            raise

    async def look(self, probe: PortProbe) -> ServerError | None:
        if probe.claim():
            probe.look()
        return probe.seen()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def next_clip(self, clips: Iterator[SourceClip]) -> SourceClip | None:
        return next(clips, None)

    def close(self) -> None:
        if self.guard.close():
            with self._lock:
                for client in self._clients.values():
                    client.close()

    def _client(self, endpoint: int) -> InferenceServerClient:
        with self._lock:
            if endpoint not in self._clients:
                self.guard.check()
                url = self._connection.urls[endpoint]
                self._clients[endpoint] = InferenceServerClient(**self._connection.channel(url))
            return self._clients[endpoint]


class Client(ClientBase):
    """Scores videos, folders of JPEGs and live streams on one or several EulerNet servers.

    Clips carry no state: they go to the servers in turn, and again to the next one when a server fails. Servers that
    differ in weights or precision are never mixed: calls raise MixedServersError, or leave out a server that became
    different after the first call.

    One client may be used by several threads. It belongs to the process that makes its first call: `fork` later needs
    a new client in each process.

    Args:
        urls: gRPC address host:port of the server, or several.
        timeout_s: for one call with all its retries, up to a day.
        tls: certificates for TLS; plain text without it.
        headers: gRPC headers of every request.
        token: bearer token of every request, as text or as a Token that reads a file or an environment variable.
        plain_text_token: send the token without TLS to other hosts than this machine.
        max_frame_mb: size of the largest JPEG that is sent; a larger frame raises TooLargeError. The server has a
            limit of its own, 16 MB by default.
        retry: send a clip or a frame again after an error that may pass. With False each is sent once and its error
            is raised, a stream is never replayed, and `weights` alone asks for the label of the weights.

    Raises:
        ValueError, TypeError: an argument is wrong.
        CredentialsError: a certificate or the token can't be used, or the token would be sent in plain text.
    """

    def _open(self, connection: Connection) -> _BlockingChannels:
        self._channels = _BlockingChannels(connection)
        return self._channels

    def score(
        self, path: str | Path, *, clips: int = 1, keep_jpegs: bool = False, at_keyframes: bool = False
    ) -> VideoResult:
        """Scores a video or a folder of JPEGs.

        Args:
            path: MP4, MOV, AVI, WebM or another format of FFmpeg; or a folder with the frames as .jpg or .jpeg files.
            clips: number of clips of 4 frames, spread evenly; the liveness is their mean.
            keep_jpegs: keep the frames' bytes in the result, for a report.
            at_keyframes: begin a video's clips at keyframes near their places, which takes less decoding.

        Raises:
            MediaError: the file or folder gives no clip.
            FrameError: a frame could not be scored, such as NoFaceError.
            ServerError: of the last attempt.
        """
        return run_blocking(self._session.score(path, clips, keep_jpegs, at_keyframes))

    def score_frames(self, jpegs: Sequence[bytes], *, name: str = "clip", keep_jpegs: bool = False) -> VideoResult:
        """Scores one clip of 4 JPEGs, every 3rd frame of their source.

        Args:
            jpegs: the frames, in order.
            name: takes the place of the path in the result and in errors.
            keep_jpegs: keep the frames' bytes in the result.

        Raises:
            ValueError: other than 4 frames.
            FrameError, ServerError: as `score`.
        """
        return run_blocking(self._session.score_frames(jpegs, name, keep_jpegs))

    def stream(self, sequence_id: int | str | None = None, *, replay_mb: float = DEFAULT_REPLAY_MB) -> Stream:
        """Opens a live stream; see Stream.

        Args:
            sequence_id: the correlation id; random by default.
            replay_mb: memory for the frames that bring the stream back when its server fails; with 0 it is lost then.

        Raises:
            ValueError: names the argument.
        """
        return Stream(self, sequence_id, replay_mb)

    def weights(self) -> str:
        """Label of the served weights, asked for once; "unknown" if the server does not report it."""
        return run_blocking(self._session.weights())

    def server_version(self) -> str:
        """Triton's version. Asks every server once and does not wait for a server that is starting.

        Raises:
            ServerError: no server answered.
        """
        return run_blocking(self._session.server_version())

    def ready(self, model: str) -> bool:
        """Whether a model is loaded. It stays so when a Python stage has died; `check` detects that."""
        return run_blocking(self._session.ready(model))

    def check(self) -> Health:
        """Sends a picture without a face through both ensembles, which every stage has to process.

        Raises:
            ServerError: names what failed.
        """
        return run_blocking(check(self._session))

    def close(self) -> None:
        """Closes the connections. Calls in progress end with ClientStateError, and so do later ones."""
        self._channels.close()

    def __enter__(self) -> Client:
        self._channels.guard.check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream(StreamBase):
    """A live stream: JPEGs in order, all to one server. Use it in a `with` block.

    The first frame carries START. `last=True` carries END; without it, leaving the block sends END. A frame that cannot
    be scored is returned with its STATUS and raises nothing: the stream continues. A score counts where `frame_count`
    is 4 or more; the filter starts anew after every eight scored frames.

    When the server fails, or has dropped the stream, its frames are sent to another server, or to the same one again,
    from the first one or the last one with RELOCATED, and the scores continue as if nothing had happened. If these
    frames take more than `replay_mb`, the filter starts anew, and the frame's result has `started_anew`.
    """

    def __init__(
        self, client: Client, sequence_id: int | str | None = None, replay_mb: float = DEFAULT_REPLAY_MB
    ) -> None:
        super().__init__(client, sequence_id, replay_mb)
        self._lock = threading.Lock()

    def score(self, jpeg: bytes, *, last: bool = False) -> FrameResult:
        """Scores the next frame.

        Raises:
            ServerError: the frame was not answered; it may be sent again.
            StreamLostError: without a replay, or where the server came back with other weights: play the stream again
                from its first frame; `__cause__` is the frame's error.
        """
        with self._lock:
            return run_blocking(self._stream.score(jpeg, last))

    def score_chunk(self, jpegs: Sequence[bytes], *, last: bool = False) -> list[FrameResult]:
        """Scores the next frames in one request, where several are there: a recording, or a camera that is behind.

        The scores are those of the frames one by one, for less of the server's time. More than 64 MB go in several
        requests, and frames for a server whose configuration takes one frame a request one by one, each with the time
        of a call.

        Args:
            jpegs: 1 to 8 frames, in order.
            last: the last of them is the stream's last.

        Raises:
            ValueError: other than 1 to 8 frames.
            TooLargeError: a frame is too large; nothing was sent.
            SequenceError: the stream has ended.
            ServerError, StreamLostError: see `score`.
        """
        with self._lock:
            return run_blocking(self._stream.score_chunk(jpegs, last))

    def close(self) -> None:
        """Sends END if it was not sent, which frees the server's slot at once. Never raises a ServerError."""
        with self._lock:
            run_blocking(self._stream.close())

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
