# SPDX-License-Identifier: Apache-2.0
"""Two versions of the service side by side: compared by turns, and shadowed behind a relay, on two real servers."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner

from benchmarks.quality.degradations import decode
from eulernet_client import AsyncClient, Client
from eulernet_client.errors import (
    MissingFileError,
    RequestRefusedError,
    RequestTimeoutError,
    ServerUnavailableError,
    TooFewFramesError,
)
from eulernet_client.rollout.paired_scoring import score_pairs, served_model
from eulernet_client.rollout.rollout_command import rollout
from eulernet_client.rollout.shadow_record import COMPARED, DROPPED, FAILED, INCOMPARABLE, ShadowRecord
from eulernet_client.rollout.shadow_relay import ShadowRelay, ShadowSettings, Target, is_clip
from eulernet_core.limits import CALLER_HEADER, TRACK_HEADER
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.candidate_repository import CANDIDATE_IDENTITY, CANDIDATE_LABEL, make_candidate
from tests.client.secure_servers import recording_server

pytestmark = pytest.mark.triton
GAIN = 0.25  # of the candidate's scores: every live verdict becomes attack


@pytest.fixture(scope="module")
def candidate(repository, tmp_path_factory):
    """The real server with other scores."""
    folder = tmp_path_factory.mktemp("candidate")
    copy = make_candidate(repository, folder / "model_repository", GAIN)
    with EmbeddedServer(copy, Ports(grpc=0, metrics=0), folder / "server.log") as running:
        running.wait_ready(120)
        yield running
        running.check_running()
        running.kill()


@pytest.fixture(scope="module")
def living(demo_clips):
    """JPEGs of the demo's living face: a moved photograph, as in other tests, is an attack for both servers."""
    frames = decode((demo_clips / "bona_fide.mp4").read_bytes())
    return [simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=97) for frame in frames]


@pytest.fixture(scope="module")
def sources(tmp_path_factory, living):
    """Folder with four folders of ten JPEGs."""
    folder = tmp_path_factory.mktemp("sources")
    for number in range(4):
        (folder / f"clip{number}").mkdir()
        for t, jpeg in enumerate(living[8 * number :][:10]):
            (folder / f"clip{number}" / f"{t:02}.jpg").write_bytes(jpeg)
    return folder


@pytest.fixture(scope="module")
def frames(living):
    return living[:12:3]


def run(*arguments):
    return CliRunner().invoke(rollout, ["compare", *map(str, arguments)])


def test_two_servers_are_compared(server, candidate, sources, tmp_path):
    labels = tmp_path / "labels.csv"
    rows = ["clip0,live,", "clip1,live,", "clip2,attack,print1", "clip3,attack,replay1"]
    labels.write_text("\n".join(["path,label,instrument", *rows, ""]))
    servers = [sources, "--url", server.url, "--candidate-url", candidate.url, "--labels", labels]
    done = run(*servers, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["candidate"] == f"{CANDIDATE_LABEL} ({CANDIDATE_IDENTITY})"
    assert found["stable"] != found["candidate"]
    assert found["changes"] == [{"stable": "live", "candidate": "attack", "sources": 4}]
    for each in found["changed"]:
        assert each["candidate"] == pytest.approx(GAIN * each["stable"], abs=1e-3)
    assert found["rates"]["stable"] == {"apcer_max": 1.0, "bpcer": 0.0, "acer": 0.5}
    assert found["rates"]["candidate"] == {"apcer_max": 0.0, "bpcer": 1.0, "acer": 0.5}
    assert (found["rates"]["mended"], found["rates"]["spoilt"]) == (2, 2)
    assert min(found["latency"]["p50_s"]) > 0
    assert run(*servers, "--most-changed", 10).exit_code == 1
    same = run(sources, "--url", server.url, "--candidate-url", server.url, "--most-changed", 0)
    assert same.exit_code == 0, same.output
    assert "the same weights" in same.output


def test_a_bad_source_is_no_reason_to_stop(server, candidate, sources, tmp_path):
    with Client(server.url) as stable, Client(candidate.url) as other:
        (tmp_path / "short").mkdir()
        pairs = list(score_pairs(stable, other, [tmp_path / "none.mp4", tmp_path / "short", sources / "clip0"]))
        assert served_model(other).weights == CANDIDATE_LABEL
    assert [pair.stable.error for pair in pairs[:1]] == [MissingFileError.__name__]
    assert pairs[1].candidate.error not in ("", TooFewFramesError.__name__)
    assert pairs[2].difference < -0.1


def test_a_server_that_does_not_answer_ends_the_comparison(server, sources):
    done = run(sources, "--url", server.url, "--candidate-url", "127.0.0.1:9", "--timeout-s", 1)
    assert done.exit_code == 1
    assert "127.0.0.1:9" in done.output


@pytest.fixture
def relay(server, candidate):
    """`relay(**settings)`: a running relay and its record, on an event loop of its own thread."""
    return lambda url=candidate.url, **settings: Relayed(Target(server.url), Target(url), ShadowSettings(**settings))


class Relayed:
    """A relay in the background, from `__enter__` to `__exit__`."""

    def __init__(self, stable, candidate, settings):
        self.record = ShadowRecord(0.5)
        self._made = lambda: ShadowRelay("127.0.0.1:0", stable, candidate, self.record, settings)
        self._loop = asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(1)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def __enter__(self):
        self._thread.submit(self._loop.run_forever)

        async def begin():
            self._relay = self._made()
            return await self._relay.__aenter__()

        self._run(begin())
        self.url = f"127.0.0.1:{self._relay.port}"
        return self

    def settled(self):
        """Waits until all copies were compared."""
        self._run(self._relay.settled())

    def __exit__(self, *error):
        self._run(self._relay.__aexit__(*error))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.shutdown()
        self._loop.close()


def test_callers_are_answered_from_the_stable_version_only(relay, server, candidate, frames):
    with Client(server.url) as client:
        expected = client.score_frames(frames)
    with relay() as shadow, Client(shadow.url) as client:
        for _ in range(5):
            assert client.score_frames(frames).liveness == pytest.approx(expected.liveness, abs=1e-5)
        assert client.weights() == expected.weights
        with client.stream() as stream:
            assert [stream.score(frame).frame_count for frame in frames] == [1, 2, 3, 4]
        shadow.settled()
        record = shadow.record
    assert record.counts == {COMPARED: 5, DROPPED: 0, FAILED: 0, INCOMPARABLE: 0}, "streams are not copied"
    for pair in record.pairs:
        assert pair.stable.liveness == pytest.approx(expected.liveness, abs=1e-5)
        assert pair.candidate.liveness == pytest.approx(GAIN * expected.liveness, abs=1e-3)
        assert 0 < pair.candidate.seconds < 60


def test_a_share_is_copied(relay, frames):
    with relay(share=0.0) as shadow, Client(shadow.url) as client:
        client.score_frames(frames)
        shadow.settled()
        assert set(shadow.record.counts.values()) == {0}
    with relay(share=0.5) as shadow, Client(shadow.url) as client:
        for _ in range(30):
            client.score_frames(frames)
        shadow.settled()
        assert 3 <= shadow.record.counts[COMPARED] <= 27


@pytest.mark.parametrize("kind", ["absent", "hanging"])
def test_a_broken_candidate_costs_the_caller_nothing(relay, frames, kind):
    async def hang(reader, writer):
        await asyncio.sleep(60)

    async def listen():
        return await asyncio.start_server(hang, "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    hanging = loop.run_until_complete(listen())
    port = hanging.sockets[0].getsockname()[1] if kind == "hanging" else 9
    try:
        with relay(f"127.0.0.1:{port}", timeout_s=2.0) as shadow, Client(shadow.url, timeout_s=20) as client:
            for _ in range(3):
                client.score_frames(frames)
            shadow.settled()
            assert shadow.record.counts[FAILED] == 3
            assert not shadow.record.pairs
    finally:
        hanging.close()
        loop.close()


def test_copies_beyond_the_memory_are_dropped(relay, frames):
    with relay(waiting_bytes=1000) as shadow, Client(shadow.url) as client:
        client.score_frames(frames)
        shadow.settled()
        assert shadow.record.counts == {COMPARED: 0, DROPPED: 1, FAILED: 0, INCOMPARABLE: 0}


def test_a_server_that_is_down_is_reported_as_it_is(candidate, frames):
    settings = ShadowSettings()
    with Relayed(Target("127.0.0.1:9"), Target(candidate.url), settings) as shadow:
        with (
            Client(shadow.url, timeout_s=1) as client,
            pytest.raises((ServerUnavailableError, RequestTimeoutError)),
        ):
            client.score_frames(frames)
        shadow.settled()
        assert set(shadow.record.counts.values()) == {0}


def test_headers_pass_and_the_version_has_its_own():
    with recording_server() as (url, seen):
        stable = Target(url, {TRACK_HEADER: "stable"})
        with Relayed(stable, Target(url), ShadowSettings()) as shadow:
            own = {CALLER_HEADER: "alice", TRACK_HEADER: "canary"}
            with Client(shadow.url, headers=own, timeout_s=5) as client, pytest.raises(RequestRefusedError):
                client.server_version()
    assert seen[-1][CALLER_HEADER] == "alice"
    assert seen[-1][TRACK_HEADER] == "stable"


def test_only_clips_are_copied():
    assert is_clip(b"\x0a\x0eantispoof_clip\x12")
    assert not is_clip(b"\x0a\x09antispoof")
    assert not is_clip(b"")


async def test_the_command_relays_and_judges(server, candidate, frames, tmp_path):
    out = tmp_path / "pairs.jsonl"
    command = [sys.executable, "-m", "eulernet_core", "rollout", "shadow", "--listen", "127.0.0.1:0"]
    command += ["--url", server.url, "--candidate-url", candidate.url, "--metrics-listen", "127.0.0.1:0"]
    command += ["--out", str(out), "--json", "--most-changed", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = process.stderr.readline()
        addresses = re.findall(r"127\.0\.0\.1:\d+", started)
        url, page = addresses[0], addresses[-1]
        async with AsyncClient(url) as client:
            await asyncio.gather(*(client.score_frames(frames) for _ in range(6)))
        deadline = time.monotonic() + 60
        text = ""
        while 'calls_total{result="compared"} 6.0' not in text and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{page}/metrics").read().decode())
        assert 'eulernet_shadow_verdicts_total{candidate="attack",stable="live"} 6.0' in text
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    found = json.loads(output)
    assert found["calls"] == {"compared": 6}
    assert found["changed_percent"] == 100
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["candidate"] < row["stable"] for row in rows] == [True] * 6


@pytest.mark.parametrize("option", ["--listen", "--metrics-listen"])
@pytest.mark.parametrize("value", ["8101", "host:port", "127.0.0.1:99999"])
def test_an_address_has_a_port(option, value):
    done = CliRunner().invoke(rollout, ["shadow", "--candidate-url", "127.0.0.1:1", option, value])
    assert done.exit_code == 2, done.output
