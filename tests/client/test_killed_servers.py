# SPDX-License-Identifier: Apache-2.0
"""Servers and stages that are killed under load: no clip and no stream is lost, and every score is what it was."""

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from eulernet_client import Client
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.client.stream_results import assert_equal, events

pytestmark = pytest.mark.triton


class Load:
    """Streams and clip calls in threads, all on one client, and what they should have answered."""

    def __init__(self, client, moving_faces, undisturbed, streams=6, clip_threads=4, frames=16):
        self.client = client
        self.played = [moving_faces(frames, 20 + number) for number in range(streams)]
        self.expected = [undisturbed(frames) for frames in self.played]
        with Client(client.urls[-1]) as calm:
            self.clips = [(played[:4], calm.score_frames(played[:4]).liveness) for played in self.played[:clip_threads]]
        self._frames_done = threading.Semaphore(0)
        self._fault_after = streams * frames // 3
        self._ended = threading.Event()

    def run(self, fault):
        """Runs until all streams have ended; calls `fault` after a third of the frames."""
        with ThreadPoolExecutor(len(self.played) + len(self.clips)) as threads:
            clips = [threads.submit(self._score_clips, *clip) for clip in self.clips]
            streams = [threads.submit(self._play, frames) for frames in self.played]
            try:
                for _ in range(self._fault_after):
                    assert self._frames_done.acquire(timeout=60)
                fault()
                for stream, expected in zip(streams, self.expected, strict=True):
                    assert_equal(stream.result(), expected)
            finally:
                self._ended.set()
            for clip in clips:
                assert clip.result() >= 3

    def _play(self, frames):
        with self.client.stream() as stream:
            results = []
            for frame in frames:
                results.append(stream.score(frame, last=len(results) == len(frames) - 1))
                self._frames_done.release()
                time.sleep(0.03)
            return results

    def _score_clips(self, jpegs, expected):
        count = 0
        while not self._ended.is_set() or count < 3:
            assert self.client.score_frames(jpegs).liveness == pytest.approx(expected, abs=1e-5)
            count += 1
        return count


@pytest.fixture
def victim(repository, tmp_path):
    """A server that the test may kill."""
    with EmbeddedServer(repository, Ports(grpc=0, metrics=0), tmp_path / "victim.log") as running:
        running.wait_ready(120)
        yield running


def test_a_killed_server_costs_no_clip_and_no_stream(server, victim, moving_faces, undisturbed, caplog):
    caplog.set_level(logging.INFO, "eulernet_client")
    with Client([victim.url, server.url], timeout_s=60) as client:
        Load(client, moving_faces, undisturbed).run(lambda: os.kill(victim.pid, signal.SIGKILL))
    assert events(caplog, "stream_lost") == events(caplog, "started_anew") == []
    assert 1 <= len(events(caplog, "replay")) <= 6, "the streams of the killed server, once each"


def stub_of(server, model):
    """The process of a server's Python stage."""
    for process in psutil.Process(server.pid).children(recursive=True):
        if any(f"/{model}/" in part or part.endswith(model) for part in process.cmdline()):
            return process
    raise AssertionError(f"no stub of {model}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("model", ["face_crop", "eulernet"])
def test_a_killed_stage_costs_no_clip_and_no_stream(server, victim, moving_faces, undisturbed, caplog, model):
    caplog.set_level(logging.INFO, "eulernet_client")
    with Client([victim.url, server.url], timeout_s=120) as client:
        Load(client, moving_faces, undisturbed).run(stub_of(victim, model).kill)
    assert events(caplog, "stream_lost") == events(caplog, "started_anew") == []
    assert events(caplog, "replay")


@pytest.mark.slow
def test_a_stream_waits_for_its_only_server_to_restart(repository, tmp_path, moving_faces, undisturbed):
    frames = moving_faces(14, 5)
    with EmbeddedServer(repository, Ports(grpc=0, metrics=0), tmp_path / "first.log") as first:
        first.wait_ready(120)
        with Client(first.url, timeout_s=60) as client, client.stream() as stream:
            results = [stream.score(frame) for frame in frames[:6]]
            os.kill(first.pid, signal.SIGKILL)
            ports = Ports(grpc=first.ports.grpc, metrics=0)
            waiting = ThreadPoolExecutor(1).submit(stream.score, frames[6])
            first.__exit__(None, None, None)
            with EmbeddedServer(repository, ports, tmp_path / "second.log") as second:
                second.wait_ready(120)
                results.append(waiting.result())
                results += [stream.score(frame) for frame in frames[7:]]
    assert_equal(results, undisturbed(frames))
