# SPDX-License-Identifier: Apache-2.0
"""Reads sources in threads ahead of the server, and keeps a fixed number of requests in flight.

Memory is bounded: at most `jobs` sources are open, `concurrency` clips are at the servers, and as many more are decoded
and wait.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TypeVar

from eulernet_client._encoded_frames import refuse_large
from eulernet_client._requests import Answer, SourceScores, clip_call, parse_clip
from eulernet_client.aio import AsyncClient
from eulernet_client.batch.journal import fingerprint
from eulernet_client.batch.row import Scored, error_row, is_final, scored_row
from eulernet_client.errors import TooLargeError
from eulernet_client.sources import SourceClip, iter_clips
from eulernet_core.status import Status

Take = Callable[[Path, Scored], None]
_T = TypeVar("_T")


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """Of one run.

    Attributes:
        clips: of each source, spread evenly.
        jobs: sources read at once.
        concurrency: clips in flight at once.
        at_keyframes: begin a video's clips at keyframes near their places, see `Client.score`.
    """

    clips: int = 1
    jobs: int = field(default_factory=cores)
    concurrency: int = 8
    at_keyframes: bool = False

    def __post_init__(self) -> None:
        for name in ("clips", "jobs", "concurrency"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name}={value}: must be at least 1")

    @property
    def decoder_threads(self) -> int:
        """Of each video's decoder: together with the other jobs' no more than there are cores."""
        return max(1, cores() // self.jobs)


class Pipeline:
    """Scores sources on the running event loop.

    Args:
        client: an open client; its `timeout_s` bounds each clip's call, retries included.
        settings: limits of parallel work.
        weights: label for the rows.
    """

    def __init__(self, client: AsyncClient, settings: Settings, weights: str) -> None:
        self._client, self._settings, self._weights = client, settings, weights
        self._reading = asyncio.Semaphore(settings.jobs)
        self._sending = asyncio.Semaphore(settings.concurrency)
        self._room = asyncio.Semaphore(2 * settings.concurrency)
        self._threads = ThreadPoolExecutor(settings.jobs, thread_name_prefix="eulernet-read")

    async def run(self, sources: Iterable[Path], take: Take) -> None:
        """Passes each finished source to `take`, in any order. An exception of `take` stops the pipeline."""
        coming = iter(sources)
        # Enough to keep all jobs reading while each clip in flight or waiting belongs to a different source.
        count = self._settings.jobs + 2 * self._settings.concurrency
        workers = [asyncio.create_task(self._work(coming, take)) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self, coming: Iterator[Path], take: Take) -> None:
        for path in coming:
            take(path, await self.score(path))

    async def score(self, path: Path) -> Scored:
        """Scores one source, within the limits of all sources that are scored at once. Raises no error of a source."""
        source = _Source(path)
        try:
            async with self._reading:
                await self._read(source)
            answered = await asyncio.gather(*source.calls, return_exceptions=True)
            return self._result(source, [_raised(each) for each in answered])
        # Any error that one file causes in a decoder goes into its row; the other sources are scored.
        except Exception as error:
            row = error_row(str(path), error, source.status, self._weights, source.seconds)
            return Scored(row, source.mark, is_final(error), error)
        finally:
            for call in source.calls:
                call.cancel()
            await asyncio.gather(*source.calls, return_exceptions=True)

    async def _read(self, source: _Source) -> None:
        source.mark = await self._in_thread(fingerprint, source.path)
        settings = self._settings
        clips = iter_clips(source.path, settings.clips, settings.decoder_threads, settings.at_keyframes)
        while True:
            begun = time.monotonic()
            clip = await self._in_thread(next, clips, None)
            source.seconds += time.monotonic() - begun
            if clip is None:
                return
            try:
                refuse_large(str(source.path), clip.frames, self._client._session.connection.max_frame_bytes)
            except TooLargeError as error:
                source.refused.append(error)
                continue
            await self._room.acquire()
            call = asyncio.create_task(self._send(clip))
            call.add_done_callback(lambda _: self._room.release())
            source.calls.append(call)

    async def _send(self, clip: SourceClip) -> tuple[SourceClip, Answer]:
        """The response, and the clip without its pictures, which would hold most of the memory."""
        async with self._sending:
            answer = await self._client._session.attempt(clip_call(clip.jpegs))
        return replace(clip, frames=tuple(replace(frame, jpeg=b"") for frame in clip.frames)), answer

    def _result(self, source: _Source, answered: list[tuple[SourceClip, Answer]]) -> Scored:
        scores = SourceScores(str(source.path))
        for error in source.refused:
            source.status = (source.status or Status.OK) | Status.TOO_LARGE
            scores.refused(error)
        for clip, answer in answered:
            source.seconds += answer.latency_s
            flags = [frame.status for frame in parse_clip(answer.result)]
            source.status = reduce(or_, flags, source.status or Status.OK)
            scores.add(clip, answer)
        row = scored_row(scores.result(self._weights), source.status or Status.OK, source.seconds)
        return Scored(row, source.mark, True, None)

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


@dataclass
class _Source:
    """A source in progress.

    Attributes:
        seconds: of reading and of waiting for responses.
        status: of the frames answered or refused.
        refused: errors of the clips that are too large to send.
    """

    path: Path
    mark: str = ""
    seconds: float = 0.0
    status: Status | None = None
    refused: list[TooLargeError] = field(default_factory=list)
    calls: list[asyncio.Task[tuple[SourceClip, Answer]]] = field(default_factory=list)


def _raised(answer: _T | BaseException) -> _T:
    if isinstance(answer, BaseException):
        raise answer
    return answer
