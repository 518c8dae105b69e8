# SPDX-License-Identifier: Apache-2.0
"""Clip calls and streams without a pause, each answer compared with what a server answers alone."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import simplejpeg

from eulernet_client import Client, EulerNetError
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.video import read_spaced_frames

TOLERANCE = 1e-5  # of liveness: other batches round differently
FRAME_PAUSE_S = 0.1
STREAM_FRAMES = 12
_CLIENT_LOG = logging.getLogger("eulernet_client")


def video_frames(path: Path) -> list[bytes]:
    """JPEGs of the first frames of a video, a tenth of a second apart. Raises: MediaError."""
    jpegs = read_spaced_frames(path, lambda frame: simplejpeg.encode_jpeg(frame.to_ndarray(format="rgb24")))
    return [jpeg for _, jpeg in zip(range(STREAM_FRAMES), jpegs, strict=False)]


@dataclass
class Phase:
    """What happened in one part of the demonstration.

    Attributes:
        counts: clips and frames by what became of them: answered, failed, different; streams ended, and replays.
        clip_s, frame_s: time of each answered call, seconds.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    clip_s: list[float] = field(default_factory=list)
    frame_s: list[float] = field(default_factory=list)


class DemoLoad(logging.Handler):
    """Runs from `__enter__` to `__exit__`. Its results go to the phase that was begun last.

    Args:
        client: of the gateway.
        videos: the frames of some videos, see `video_frames`.
        alone: a server that answers what is expected, before the load begins.
        streams, callers: threads with streams, and with clip calls.
    """

    def __init__(
        self, client: Client, videos: Sequence[list[bytes]], alone: str, *, streams: int, callers: int
    ) -> None:
        super().__init__(logging.INFO)
        self._client, self._videos = client, videos
        self._streams, self._callers = streams, callers
        self._stop, self._guard = threading.Event(), threading.Lock()
        self.phases = [Phase("start")]
        with Client(alone) as calm:
            self._clips = [calm.score_frames(frames[:CLIP_FRAMES]).liveness for frames in videos]
            self._frames = [_stream_scores(calm, frames) for frames in videos]

    def begin(self, name: str) -> None:
        """Begins a phase."""
        with self._guard:
            self.phases.append(Phase(name))

    def emit(self, record: logging.LogRecord) -> None:
        """Counts what the client logs: replayed and lost streams, and streams that started anew."""
        event = getattr(record, "event", "")
        if event in ("replay", "stream_lost", "started_anew"):
            self._count(event)

    def __enter__(self) -> DemoLoad:
        self._level = _CLIENT_LOG.level
        _CLIENT_LOG.setLevel(logging.INFO)
        _CLIENT_LOG.addHandler(self)
        self._pool = ThreadPoolExecutor(self._streams + self._callers)
        work: list[Future[None]] = [self._pool.submit(self._stream, k) for k in range(self._streams)]
        self._work = work + [self._pool.submit(self._clip, k) for k in range(self._callers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        _CLIENT_LOG.removeHandler(self)
        _CLIENT_LOG.setLevel(self._level)
        if error is None:
            for each in self._work:
                each.result()

    def _count(self, event: str) -> None:
        with self._guard:
            self.phases[-1].counts[event] += 1

    def _answered(self, kind: str, seconds: float, liveness: float, expected: float) -> None:
        with self._guard:
            phase = self.phases[-1]
            phase.counts[f"{kind} answered"] += 1
            phase.counts[f"{kind} different"] += abs(liveness - expected) > TOLERANCE
            (phase.clip_s if kind == "clips" else phase.frame_s).append(seconds)

    def _clip(self, number: int) -> None:
        number %= len(self._videos)
        while not self._stop.is_set():
            begun_s = time.monotonic()
            try:
                liveness = self._client.score_frames(self._videos[number][:CLIP_FRAMES]).liveness
            except EulerNetError:
                self._count("clips failed")
                continue
            self._answered("clips", time.monotonic() - begun_s, liveness, self._clips[number])

    def _stream(self, number: int) -> None:
        number %= len(self._videos)
        frames, expected = self._videos[number], self._frames[number]
        while not self._stop.is_set():
            try:
                with self._client.stream() as stream:
                    for k, jpeg in enumerate(frames):
                        begun_s = time.monotonic()
                        result = stream.score(jpeg, last=k == len(frames) - 1)
                        self._answered("frames", time.monotonic() - begun_s, result.liveness, expected[k])
                        if self._stop.wait(FRAME_PAUSE_S):
                            return
            except EulerNetError:
                self._count("frames failed")
                continue
            self._count("streams ended")


def _stream_scores(client: Client, frames: Sequence[bytes]) -> list[float]:
    with client.stream() as stream:
        return [stream.score(jpeg).liveness for jpeg in frames]


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """A percentile in ms, NaN without any."""
    return float(np.percentile(seconds, percent)) * 1000 if seconds else float("nan")
