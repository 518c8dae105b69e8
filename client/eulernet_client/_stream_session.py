# SPDX-License-Identifier: Apache-2.0
"""The logic of a stream, for both clients: its frames go to one server, and are replayed on another when that fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import NoReturn

from eulernet_client._encoded_frames import encoded_frame, refuse_large
from eulernet_client._replay import DEFAULT_REPLAY_MB, MEGABYTE
from eulernet_client._requests import Answer, StreamState, chunk_bytes, parse_frame
from eulernet_client._result import FrameResult
from eulernet_client._session import ClientBase, Session
from eulernet_client._transport import END_TIMEOUT_S, Attempts, log
from eulernet_client.errors import ClientStateError, MixedServersError, RequestRefusedError, ResponseError, ServerError
from eulernet_client.sources import SourceFrame
from eulernet_core.limits import MAX_CHUNK_BYTES, MAX_CHUNK_FRAMES
from eulernet_core.tensors import STREAM_MODEL


class StreamSession:
    """Sends one stream's frames, in order. Its calls must not overlap.

    Args:
        session: of the client.
        sequence_id: correlation id; random by default.
        replay_mb: bound of the frames kept for a replay, in MB. 0: none, and a failed frame loses the stream.

    Raises:
        ValueError: names the argument.
    """

    def __init__(self, session: Session, sequence_id: int | str | None, replay_mb: float = 0.0) -> None:
        if not replay_mb >= 0:
            raise ValueError(f"replay_mb={replay_mb}: give 0 or more")
        self._session = session
        self.state = StreamState(sequence_id, replay_mb * MEGABYTE if session.connection.retry else 0.0)
        self._endpoint: int | None = None  # the server that was sent frames last
        self._identity = ""  # of the server that began the stream
        self._fault: BaseException | None = None  # the latest failure

    async def score(self, jpeg: bytes, last: bool) -> FrameResult:
        """See Stream.score."""
        return (await self._score(self.checked([jpeg]), last))[0]

    async def score_chunk(self, jpegs: Sequence[bytes], last: bool) -> list[FrameResult]:
        """See Stream.score_chunk."""
        return await self._score_all(self.checked(jpegs), last)

    async def score_together(self, chunks: Sequence[Sequence[bytes]], last: bool) -> list[list[FrameResult]]:
        """The results of chunks in one request; of the first one alone where the server takes one frame a request.

        Args:
            chunks: frames that `checked` gave, that fit into a request.
            last: the stream's last frame is among them.

        Raises:
            SequenceError: the stream has ended.
            ServerError, StreamLostError: see Stream.score.
        """
        frames = [jpeg for chunk in chunks for jpeg in chunk]
        results = await self._score(frames, last)
        if len(results) == len(frames):
            each = iter(results)
            return [list(islice(each, len(chunk))) for chunk in chunks]
        return [await self._score_all(chunks[0], last and len(chunks) == 1, results)]

    def checked(self, jpegs: Sequence[bytes], before: int = 0) -> list[bytes]:
        """Frames as bytes. `before`: number of frames that wait.

        Raises:
            TypeError: a frame is no encoded JPEG.
            ValueError: other than 1 to MAX_CHUNK_FRAMES frames.
            TooLargeError: a frame is too large.
        """
        frames = [encoded_frame(jpeg) for jpeg in jpegs]
        if not 1 <= len(frames) <= MAX_CHUNK_FRAMES:
            raise ValueError(f"{len(frames)} frames: a chunk has 1 to {MAX_CHUNK_FRAMES}")
        numbered = enumerate(frames, self.state.frames + before)
        named = [SourceFrame(index, f"frame {index}", jpeg) for index, jpeg in numbered]
        refuse_large(f"stream {self.state.sequence_id}", named, self._session.connection.max_frame_bytes)
        return frames

    async def _score_all(
        self, frames: Sequence[bytes], last: bool, scored: Sequence[FrameResult] = ()
    ) -> list[FrameResult]:
        """In as few requests as the server takes. `scored`: results of the first ones."""
        results = list(scored)
        while len(results) < len(frames):
            results += await self._score(frames[len(results) :], last, part=bool(results))
        return results

    async def _score(self, jpegs: Sequence[bytes], last: bool, *, part: bool = False) -> list[FrameResult]:
        """The results of the frames that went out in one request: all, or the first alone.

        `part`: frames of the same chunk were answered before, so a failure loses the stream.
        """
        self.state.check_open()
        try:
            answer, sent = await self._send(jpegs, last)
        except BaseException as error:
            self._fault = error
            differs = isinstance(error, MixedServersError)
            if not self.state.failed(error, final=differs or part):
                raise
            self._log("stream_lost", "is lost")
            if differs:
                self._endpoint = None
            if isinstance(error, ServerError):
                raise self.state.lost(error) from error
            raise
        try:
            return self.state.answered(answer, jpegs[:sent], last and sent == len(jpegs))
        except ResponseError as error:
            if part:
                self.state.failed(error, final=True)
            raise

    async def close(self) -> None:
        """See Stream.close."""
        call = self.state.closing_call()
        if call is not None and self._endpoint is not None:
            timeout_s = min(self._session.connection.timeout_s, END_TIMEOUT_S)
            # If END is lost, the server's idle timeout frees the slot; so it does when the client is closed already.
            with suppress(ServerError, ClientStateError):
                await self._session.infer(call, self._endpoint, timeout_s)

    async def _send(self, jpegs: Sequence[bytes], last: bool) -> tuple[Answer, int]:
        """The answer, and the number of the frames that it is for."""
        state, connection = self.state, self._session.connection
        attempts = Attempts(
            self._session.endpoints,
            connection.timeout_s,
            STREAM_MODEL,
            retry=connection.retry and (state.replays or not state.begun),
            home=self._endpoint if state.served else None,
            replays=state.replays and state.begun,
        )
        return await attempts.run(self._session.channels.sleep, lambda: self._attempt(jpegs, last, attempts))

    async def _attempt(self, jpegs: Sequence[bytes], last: bool, attempts: Attempts) -> tuple[Answer, int]:
        """Sends frames to the next server, after the frames that the server lacks."""
        endpoint, timeout_s = attempts.next()
        state = self.state
        sent = len(jpegs) if len(jpegs) > 1 and await self._takes(jpegs, endpoint) else 1

        async def infer(frames: Sequence[bytes]) -> Answer:
            call = state.call(frames, last and len(frames) == len(jpegs))
            return await self._session.infer(call, endpoint, min(timeout_s, attempts.left_s))

        try:
            if not (state.served and endpoint == self._endpoint):
                await self._begin(endpoint, timeout_s, attempts)
            try:
                return await infer(jpegs[:sent]), sent
            except RequestRefusedError:
                if sent == 1:
                    raise
                answer = await infer(jpegs[:1])
                self._session.chunk_refused(endpoint)
                return answer, 1
        except BaseException as error:
            self._fault = error
            if state.replays:
                state.served = False
            raise

    async def _takes(self, jpegs: Sequence[bytes], endpoint: int) -> bool:
        """Whether a server takes these frames in one request."""
        return chunk_bytes(jpegs) <= MAX_CHUNK_BYTES and await self._session.takes_chunks(endpoint)

    async def _begin(self, endpoint: int, timeout_s: float, attempts: Attempts) -> None:
        """Begins or continues the stream on a server that has no state of it. Raises: ServerError."""
        urls = self._session.connection.urls
        if self.state.replays or len(urls) > 1:
            identity = (await self._session.admit(endpoint)).identity
            if self.state.begun and identity != self._identity:
                raise MixedServersError(
                    f"{urls[endpoint]} has {identity!r}, the stream began with {self._identity!r}: its scores would be "
                    "of two models"
                )
            self._identity = identity
        self._endpoint = endpoint
        if not self.state.begun:
            return
        if self.state.kept.complete:
            await self._replay(endpoint, timeout_s, attempts)
        else:
            self._start_anew("more frames are needed than are kept")

    async def _replay(self, endpoint: int, timeout_s: float, attempts: Attempts) -> None:
        """Sends the kept frames; they may take half of the time that is left."""
        state, enough = self.state, time.monotonic() + attempts.left_s / 2
        for number, kept in enumerate(state.kept):
            if time.monotonic() > enough:
                return self._start_anew(f"only {number} of {len(state.kept)} frames could be replayed in time")
            call = state.replay_call(kept, start=number == 0)
            answer = await self._session.infer(call, endpoint, min(timeout_s, attempts.left_s))
            if parse_frame(answer.result).frame_count != kept.frame_count:
                return self._start_anew(f"replayed frame {number} was answered otherwise than before")
        state.rebuilt()
        self._log("replay", f"goes on after {len(state.kept)} replayed frames", frames=len(state.kept))
        return None

    def _start_anew(self, reason: str) -> None:
        self.state.start_anew()
        self._log("started_anew", f"starts anew: {reason}")

    def _log(self, event: str, text: str, **more: int) -> None:
        assert self._endpoint is not None  # nothing is lost or replayed before the first answer
        server, name = self._session.connection.urls[self._endpoint], type(self._fault).__name__
        fields = {"event": event, "server": server, "model": STREAM_MODEL, "error": name, **more}
        message = "%s: %s: %s: stream %s %s (%s)"
        log.info(message, server, STREAM_MODEL, name, self.state.sequence_id, text, event, extra=fields)


class StreamBase:
    """The constructor and the properties of both streams."""

    def __init__(
        self, client: ClientBase, sequence_id: int | str | None = None, replay_mb: float = DEFAULT_REPLAY_MB
    ) -> None:
        self._stream = StreamSession(client._session, sequence_id, replay_mb)

    def __reduce__(self) -> NoReturn:
        raise ClientStateError(f"{type(self).__name__} can't be pickled or copied; open one in each process")

    @property
    def sequence_id(self) -> int | str:
        """The correlation id."""
        return self._stream.state.sequence_id
