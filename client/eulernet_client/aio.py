# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio. Its logic is in _session.py, shared with the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from eulernet_client._channel_guard import ChannelGuard
from eulernet_client._connection import Connection
from eulernet_client._health import check
from eulernet_client._port_probe import PortProbe
from eulernet_client._replay import DEFAULT_REPLAY_MB
from eulernet_client._result import FrameResult, Health, VideoResult
from eulernet_client._session import ClientBase
from eulernet_client._shared_requests import SharedRequests
from eulernet_client._stream_session import StreamBase
from eulernet_client.errors import ServerError
from eulernet_client.sources import SourceClip

DEADLINE_GRACE_S = 2.0


class _AsyncChannels:
    """Channels on the running event loop. Files are read and decoded in a thread."""

    def __init__(self, connection: Connection) -> None:
        self.guard = ChannelGuard()
        self._connection = connection
        self._clients: dict[int, Any] = {}

    async def call(self, endpoint: int, method: str, arguments: Mapping[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        self.guard.check(loop)
        # Opened at first use: gRPC binds a channel to the running loop, and a client may be made outside of one.
        if endpoint not in self._clients:
            url = self._connection.urls[endpoint]
            self._clients[endpoint] = InferenceServerClient(**self._connection.channel(url))
        calling = asyncio.ensure_future(getattr(self._clients[endpoint], method)(**arguments))
        # gRPC ends a call at its deadline, unless it misses a wake-up of the event loop: then this timer does. It takes
        # less time than asyncio.wait_for.
        timer = loop.call_later(arguments["client_timeout"] + DEADLINE_GRACE_S, calling.cancel)
        try:
            return await calling
        except asyncio.CancelledError:
            # Closing the client cancels its calls, which must not look as if the caller's task was cancelled.
            if calling.cancelled() and not _is_being_cancelled():
                self.guard.check_open()
                if loop.time() >= timer.when():
                    message = f"gRPC gave no result {DEADLINE_GRACE_S:g} s after the deadline"
                    raise InferenceServerException(message, "StatusCode.DEADLINE_EXCEEDED") from None
            raise
        except Exception:
            self.guard.check_open()  # gRPC raises errors of its own once the client is closed
            raise
        finally:
            timer.cancel()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def next_clip(self, clips: Iterator[SourceClip]) -> SourceClip | None:
        return await asyncio.to_thread(next, clips, None)

    async def look(self, probe: PortProbe) -> ServerError | None:
        if probe.claim():
            await asyncio.to_thread(probe.look)
        return probe.seen()

    async def close(self) -> None:
        may_close = self.guard.close(asyncio.get_running_loop())
        opened, self._clients = self._clients, {}
        for client in opened.values() if may_close else ():
            await client.close()


def _is_being_cancelled() -> bool:
    """Whether somebody cancelled the current task; Python 3.10 can't tell."""
    task: Any = asyncio.current_task()
    return bool(task.cancelling()) if hasattr(task, "cancelling") else False


class AsyncClient(ClientBase):
    """Scores videos, folders of JPEGs and live streams with asyncio. It has the arguments and methods of Client.

    Use it in an `async with` block, in one event loop. Any number of calls may run at once.
    """

    def _open(self, connection: Connection) -> _AsyncChannels:
        self._channels = _AsyncChannels(connection)
        return self._channels

    async def score(
        self, path: str | Path, *, clips: int = 1, keep_jpegs: bool = False, at_keyframes: bool = False
    ) -> VideoResult:
        """Scores a video or a folder of JPEGs; see Client.score."""
        return await self._session.score(path, clips, keep_jpegs, at_keyframes)

    async def score_frames(
        self, jpegs: Sequence[bytes], *, name: str = "clip", keep_jpegs: bool = False
    ) -> VideoResult:
        """Scores one clip of 4 JPEGs; see Client.score_frames."""
        return await self._session.score_frames(jpegs, name, keep_jpegs)

    def stream(self, sequence_id: int | str | None = None, *, replay_mb: float = DEFAULT_REPLAY_MB) -> AsyncStream:
        """Opens a live stream; see Client.stream."""
        return AsyncStream(self, sequence_id, replay_mb)

    async def weights(self) -> str:
        """Label of the served weights; see Client.weights."""
        return await self._session.weights()

    async def server_version(self) -> str:
        """Triton's version; see Client.server_version."""
        return await self._session.server_version()

    async def ready(self, model: str) -> bool:
        """Whether a model is loaded; see Client.ready."""
        return await self._session.ready(model)

    async def check(self) -> Health:
        """Sends a picture without a face through both ensembles; see Client.check."""
        return await check(self._session)

    async def close(self) -> None:
        """Closes the connections."""
        await self._channels.close()

    async def __aenter__(self) -> AsyncClient:
        self._channels.guard.check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncStream(StreamBase):
    """A live stream; see Stream.

    Several coroutines may send frames at once. They go out in the order given: what comes while a request is under way
    shares the next one, up to 8 frames; a GPU server gets them one by one. A busy server then scores more frames/s, and
    a camera need not wait for an answer before it sends its next frame. Frames of one request fail together.
    """

    def __init__(
        self, client: AsyncClient, sequence_id: int | str | None = None, replay_mb: float = DEFAULT_REPLAY_MB
    ) -> None:
        super().__init__(client, sequence_id, replay_mb)
        self._requests = SharedRequests(self._stream)

    async def score(self, jpeg: bytes, *, last: bool = False) -> FrameResult:
        """Scores the next frame; see Stream.score.

        A cancelled frame is left out, and if its request was under way, the next one begins with a replay. It stays in
        the stream if that request has frames of others.
        """
        return (await self._requests.score([jpeg], last))[0]

    async def score_chunk(self, jpegs: Sequence[bytes], *, last: bool = False) -> list[FrameResult]:
        """Scores the next frames in one request; see Stream.score_chunk."""
        return await self._requests.score(jpegs, last)

    async def close(self) -> None:
        """Sends END if it was not sent, after the frames that wait; see Stream.close."""
        await self._requests.close()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
