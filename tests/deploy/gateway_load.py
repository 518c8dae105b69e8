# SPDX-License-Identifier: Apache-2.0
"""For tests: clips and streams through a gateway without a pause, each compared with what a server answers alone."""

import contextlib
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import pytest

from eulernet_client import Client
from tests.client.stream_results import assert_equal

FRAME_PAUSE_S = 0.05


class Load:
    """Runs from `__enter__` to `__exit__`, which raises what went wrong.

    Args:
        client: of the gateways.
        moving_faces: the fixture.
        calm_url: a server that answers what is expected, before the load begins.
        streams, clips: threads; frames: of each stream.
    """

    def __init__(self, client, moving_faces, calm_url, streams=4, clips=2, frames=12):
        self.client = client
        self.done = {"clips": 0, "streams": 0}
        self._clip_threads, self._stop, self._lock = clips, threading.Event(), threading.Lock()
        self._played = [moving_faces(frames, 40 + number) for number in range(streams)]
        with Client(calm_url) as calm:
            self._expected = [self._alone(calm, frames) for frames in self._played]
            self._liveness = [calm.score_frames(frames[:4]).liveness for frames in self._played]

    def __enter__(self):
        self._threads = ThreadPoolExecutor(len(self._played) + self._clip_threads)
        self._work = [self._threads.submit(self._streams, number) for number in range(len(self._played))]
        self._work += [self._threads.submit(self._clips, number) for number in range(self._clip_threads)]
        return self

    def __exit__(self, kind, error, trace):
        self._stop.set()
        self._threads.shutdown()
        if error is None:
            for each in self._work:
                each.result()

    def go_on(self, clips=6, streams=4, timeout_s=90):
        """Waits until so many more clips and streams were answered as expected."""
        goal = {"clips": self.done["clips"] + clips, "streams": self.done["streams"] + streams}
        self.until(lambda: all(self.done[each] >= goal[each] for each in goal), timeout_s)

    def until(self, reached, timeout_s=90):
        """Waits for something that happens under the load."""
        deadline_s = time.monotonic() + timeout_s
        while not reached():
            failed, _ = wait(self._work, 0.1, FIRST_EXCEPTION)
            for each in failed:
                each.result()
            assert time.monotonic() < deadline_s, f"not reached in {timeout_s} s; {self.done} answered"

    @staticmethod
    def _alone(client, frames):
        with client.stream() as stream:
            return [stream.score(frame) for frame in frames]

    def _streams(self, number):
        frames = self._played[number]
        while not self._stop.is_set():
            results = []
            with self.client.stream() as stream:
                for frame in frames:
                    results.append(stream.score(frame, last=len(results) == len(frames) - 1))
                    time.sleep(FRAME_PAUSE_S)
            assert_equal(results, self._expected[number])
            with self._lock:
                self.done["streams"] += 1

    def _clips(self, number):
        frames, expected = self._played[number][:4], self._liveness[number]
        while not self._stop.is_set():
            assert self.client.score_frames(frames).liveness == pytest.approx(expected, abs=1e-5)
            with self._lock:
                self.done["clips"] += 1


@contextlib.contextmanager
def nothing_lost(caplog, replays=None):
    """Inside it no stream is lost or starts anew; `replays`: how many streams are replayed, None: any number."""
    caplog.set_level("INFO", "eulernet_client")
    caplog.clear()
    yield
    seen = [getattr(record, "event", "") for record in caplog.records]
    assert "stream_lost" not in seen
    assert "started_anew" not in seen
    assert replays is None or seen.count("replay") == replays
