# SPDX-License-Identifier: Apache-2.0
"""Light traffic of all kinds for a look at the dashboards: clips, streams, blank and broken frames."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from eulernet_client import Client, EulerNetError
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.video import read_spaced_frames, upright

PAUSE_S = 0.25  # after a clip, and after a frame of a stream
BAD_SHARE = 0.08  # of a stream's frames that show no face, and again of those that are broken


class MixedTraffic:
    """Calls a server from `__enter__` to `__exit__`: one caller of clips and `streams` callers of streams.

    Args:
        url: host:port of gRPC.
        videos: clips of faces.
    """

    def __init__(self, url: str, videos: Sequence[Path], streams: int = 2) -> None:
        self._url, self._videos, self._ended = url, videos, threading.Event()
        self._threads = [threading.Thread(target=self._clips, daemon=True)]
        self._threads += [threading.Thread(target=self._streams, args=(seed,), daemon=True) for seed in range(streams)]

    def __enter__(self) -> MixedTraffic:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for each in self._threads:
            each.join(30)

    def _clips(self) -> None:
        with Client(self._url) as client:
            for video in itertools.cycle(self._videos):
                if self._ended.wait(PAUSE_S):
                    return
                with contextlib.suppress(EulerNetError):
                    client.score(video)

    def _streams(self, seed: int) -> None:
        dice = random.Random(seed)
        blank = encode_jpeg(np.full((240, 320, 3), 128, np.uint8))
        with Client(self._url) as client:
            while not self._ended.is_set():
                with contextlib.suppress(EulerNetError), client.stream() as stream:
                    for jpeg in _jpegs(dice.choice(self._videos), dice.randrange(20, 60)):
                        drawn = dice.random()
                        broken = jpeg[: len(jpeg) // 2] if drawn < 2 * BAD_SHARE else jpeg
                        stream.score(blank if drawn < BAD_SHARE else broken)
                        if self._ended.wait(PAUSE_S):
                            return
                time.sleep(PAUSE_S)


def _jpegs(video: Path, count: int) -> Iterator[bytes]:
    """So many frames of a video as a stream sends them, from its beginning again after its end."""
    frames = [encode_jpeg(picture) for picture in read_spaced_frames(video, upright)]
    return itertools.islice(itertools.cycle(frames), count)
