# SPDX-License-Identifier: Apache-2.0
"""One WebSocket of the page is one stream: each binary message is a JPEG, and each answer one JSON text.

While a frame is being scored a further one is dropped and said to be, so that nothing ever queues here.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from eulernet_client._result import FrameResult
from eulernet_client.aio import AsyncClient
from eulernet_client.console.recent_samples import RecentSamples
from eulernet_client.console.status_words import HeldVerdict, words
from eulernet_client.errors import EulerNetError, StreamLostError

REPLAY_MB = 16.0  # of a stream's frames; a longer replay would cost a live picture more than starting again
UNSUPPORTED_DATA, INTERNAL_ERROR = 1003, 1011  # close codes (RFC 6455)
MAP_LEVELS = 255
_log = logging.getLogger(__name__)
_replayed_frames: ContextVar[list[int] | None] = ContextVar("_replayed_frames", default=None)


class ReplayListener(logging.Handler):
    """Notes the frames that the client library replays, for the task whose frame caused the replay."""

    def emit(self, record: logging.LogRecord) -> None:
        """Takes the library's event `replay`; see the client guide."""
        heard = _replayed_frames.get()
        if heard is not None and getattr(record, "event", "") == "replay":
            heard.append(int(getattr(record, "frames", 0)))


class LiveStream:
    """Scores the frames of one WebSocket.

    Args:
        socket: not yet accepted.
        client: shared by all streams of the console.
        samples: gets latency and STATUS of each answered frame.
    """

    def __init__(self, socket: WebSocket, client: AsyncClient, samples: RecentSamples) -> None:
        self._socket, self._client, self._samples = socket, client, samples
        self._stream = client.stream(replay_mb=REPLAY_MB)
        self._verdict = HeldVerdict()
        self._scoring: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answers until the page closes the socket."""
        await self._socket.accept()
        try:
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                jpeg = message.get("bytes")
                if jpeg is None:
                    await self._socket.close(UNSUPPORTED_DATA, "give JPEGs as binary messages")
                    return
                if self._scoring is not None and not self._scoring.done():
                    await self._send({"type": "dropped"})
                else:
                    self._scoring = asyncio.create_task(self._score(jpeg))
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._scoring is not None:
            self._scoring.cancel()
            await asyncio.gather(self._scoring, return_exceptions=True)
        await self._stream.close()

    async def _score(self, jpeg: bytes) -> None:
        try:
            await self._send(await self._answer(jpeg))
        except Exception:
            _log.exception("a frame of the page could not be answered")
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(INTERNAL_ERROR, "see the console's terminal")

    async def _answer(self, jpeg: bytes) -> dict[str, Any]:
        replayed: list[int] = []
        _replayed_frames.set(replayed)
        begun = time.monotonic()
        try:
            frame = await self._stream.score(jpeg)
        except StreamLostError as error:
            await self._stream.close()
            self._stream = self._client.stream(replay_mb=REPLAY_MB)
            self._verdict = HeldVerdict()
            return {"type": "lost", "error": error.to_dict()}
        except EulerNetError as error:
            return {"type": "failed", "error": error.to_dict()}
        latency_s = time.monotonic() - begun
        self._samples.add(latency_s, frame.status)
        return frame_message(frame, *self._verdict.of(frame), latency_s, sum(replayed))

    async def _send(self, message: dict[str, Any]) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # the page has closed the socket meanwhile
            await self._socket.send_json(message)


def frame_message(frame: FrameResult, verdict: str, held: bool, latency_s: float, replayed: int = 0) -> dict[str, Any]:
    """The answer to one frame, for the page.

    Args:
        frame: the client library's result.
        verdict, held: of `HeldVerdict`.
        latency_s: from the console to the server and back, retries included.
        replayed: number of earlier frames that were sent again before this one.
    """
    levels = np.rint(np.clip(frame.location_map, 0, 1) * MAP_LEVELS).astype(np.uint8)
    return {
        "type": "frame",
        "index": frame.index,
        "liveness": frame.liveness,
        "verdict": verdict,
        "held": held,
        "frame_count": frame.frame_count,
        "status": frame.status.label,
        "words": words(frame.status),
        "scored": frame.status.usable,
        "box": list(frame.box),
        "map": base64.b64encode(levels.tobytes()).decode("ascii"),
        "latency_ms": 1000 * latency_s,
        "started_anew": frame.started_anew,
        "restarted": frame.status.restarted,
        "replayed": replayed,
    }
