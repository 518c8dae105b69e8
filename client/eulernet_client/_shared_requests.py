# SPDX-License-Identifier: Apache-2.0
"""Frames that several coroutines give one stream: those that come while a request is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from eulernet_client._requests import chunk_bytes
from eulernet_client._result import FrameResult
from eulernet_client._stream_session import StreamSession
from eulernet_core.limits import MAX_CHUNK_BYTES, MAX_CHUNK_FRAMES

# Of the event loop, before a request goes out: those who were just answered send their next frames, which then share
# it. With four frames of a stream in flight a request has four of them, without these turns 2.7.
TURNS_FOR_OTHERS = 2


class WaitingFrames:
    """Frames that one call gave, in order; none stand for the stream's end.

    Args:
        jpegs: up to MAX_CHUNK_FRAMES encoded JPEGs.
        last: the last of them is the stream's last.
        results: takes the results, one for each frame, or the error; its caller may cancel it.
    """

    def __init__(self, jpegs: Sequence[bytes], last: bool, results: asyncio.Future[list[FrameResult]]) -> None:
        self.jpegs, self.last, self.results = jpegs, last, results
        self.size = chunk_bytes(jpegs)


class SharedRequests:
    """Sends a stream's frames in the order given, one request at a time."""

    def __init__(self, stream: StreamSession) -> None:
        self._stream = stream
        self._waiting: deque[WaitingFrames] = deque()
        self._request: list[WaitingFrames] = []  # that is under way
        self._sending: asyncio.Task[None] | None = None
        self._unanswered = 0  # frames

    async def score(self, jpegs: Sequence[bytes], last: bool) -> list[FrameResult]:
        """The results of frames, 1 to MAX_CHUNK_FRAMES. A call that is cancelled leaves its frames out, unless the
        request that they are in has frames of other calls.

        Raises:
            TypeError, ValueError, TooLargeError: see StreamSession.checked; none is sent.
            ServerError: of their request.
        """
        return await self._queued(self._stream.checked(jpegs, self._unanswered), last)

    async def close(self) -> None:
        """Ends the stream after the frames that wait."""
        await self._queued([], last=True)

    async def _queued(self, jpegs: Sequence[bytes], last: bool) -> list[FrameResult]:
        waiting = WaitingFrames(jpegs, last, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._unanswered += len(jpegs)
        self._go_on()
        try:
            return await waiting.results
        finally:
            self._unanswered -= len(jpegs)
            if self._sending and self._request and all(each.results.cancelled() for each in self._request):
                self._sending.cancel()

    def _go_on(self) -> None:
        """Sends the next request, unless one is under way or nobody waits."""
        while self._waiting and self._waiting[0].results.done():
            self._waiting.popleft()
        if self._sending is None and self._waiting:
            self._sending = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        try:
            for _ in range(TURNS_FOR_OTHERS):
                await asyncio.sleep(0)
            self._request = self._next_request()
            answered = await self._answered(self._request)
            for each, results in zip(self._request, answered, strict=False):
                if not each.results.done():
                    each.results.set_result(results)
        except Exception as error:
            for each in self._request:
                if not each.results.done():
                    each.results.set_exception(error)
        finally:
            self._waiting.extendleft(each for each in reversed(self._request) if not each.results.done())
            self._request, self._sending = [], None
            self._go_on()

    async def _answered(self, request: Sequence[WaitingFrames]) -> list[list[FrameResult]]:
        """The results of each of these frames, or of the first where the server takes one frame a request."""
        if not request:
            return []
        if not request[0].jpegs:
            await self._stream.close()
            return [[]]
        return await self._stream.score_together([each.jpegs for each in request], request[-1].last)

    def _next_request(self) -> list[WaitingFrames]:
        """Takes the oldest waiting frames that fit into one request."""
        request: list[WaitingFrames] = []
        while self._waiting:
            each = self._waiting[0]
            if not each.results.done():
                frames = sum(len(taken.jpegs) for taken in (*request, each))
                size = sum(taken.size for taken in (*request, each))
                ends = not each.jpegs or (request and request[-1].last)
                if request and (ends or frames > MAX_CHUNK_FRAMES or size > MAX_CHUNK_BYTES):
                    break
                request.append(each)
            self._waiting.popleft()
            if request and not request[0].jpegs:
                break
        return request
