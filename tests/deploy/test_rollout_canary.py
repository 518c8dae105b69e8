# SPDX-License-Identifier: Apache-2.0
"""Canary and shadow behind the real gateway, with two real servers that give different scores."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
import yaml

from deploy.gateway.haproxy_process import CHART, NAMESPACE, RELEASE
from deploy.tools import HELM
from eulernet_client import Client
from eulernet_client.errors import RequestRefusedError
from eulernet_core.limits import STREAM_HEADER, TRACK_HEADER
from eulernet_core.tensors import ENCODED, LIVENESS, STREAM_MODEL
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.health_port import HealthPort, Page
from tests.candidate_repository import CANDIDATE_LABEL, make_candidate
from tests.deploy.canary_cluster import CanaryCluster, wait_up

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]
GAIN = 0.25  # of the canary's scores
FRAMES = 10


@pytest.fixture(scope="module")
def cluster(server, repository, tmp_path_factory):
    """Both versions behind doors of their own."""
    folder = tmp_path_factory.mktemp("canary")
    copy = make_candidate(repository, folder / "model_repository", GAIN)
    with (
        EmbeddedServer(copy, Ports(grpc=0, metrics=0), folder / "server.log") as candidate,
        HealthPort("127.0.0.1", 0, lambda path: Page(HTTPStatus.OK, "")) as always_ready,
        CanaryCluster(folder / "cluster") as opened,
    ):
        candidate.wait_ready(120)
        ready = always_ready._socket.getsockname()[1]
        opened.door(0, server.ports.grpc, server.ports.metrics, ready)
        opened.canary_door = opened.door(1, candidate.ports.grpc, candidate.ports.metrics, ready)
        opened.list_both()
        yield opened
        candidate.check_running()
        candidate.kill()


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(FRAMES, 5)


@pytest.fixture(scope="module")
def alone(server, frames):
    """What the stable version answers: to the first four frames as a clip, and to the frames as a stream."""
    with Client(server.url) as client, client.stream() as stream:
        return client.score_frames(frames[:4]).liveness, [stream.score(frame).liveness for frame in frames]


@contextmanager
def serving(gateway):
    """Ends a gateway with the test."""
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.kill()


def answers(gateway, proxy):
    return gateway.metric("haproxy_backend_http_responses_total", proxy=proxy, code="2xx")


class RawStream:
    """A stream whose frames go to the gateway that each call names, without a client that replays."""

    def __init__(self, name, frames):
        self._name, self._frames, self._sent = name, frames, 0

    def next(self, gateway):
        frame = self._frames[self._sent]
        tensor = triton.InferInput(ENCODED, [1, len(frame)], "UINT8")
        tensor.set_data_from_numpy(np.frombuffer(frame, np.uint8)[None])
        order = {"sequence_id": self._name, "sequence_start": self._sent == 0, "sequence_end": False}
        headers = {STREAM_HEADER: f"stream-{self._name}"}
        self._sent += 1
        with closing(triton.InferenceServerClient(gateway.url)) as channel:
            result = channel.infer(STREAM_MODEL, [tensor], headers=headers, client_timeout=60, **order)
        time.sleep(0.2)  # the gateways tell each other in the background
        return result.as_numpy(LIVENESS).item()


def test_clips_are_divided_by_weight(cluster, frames, alone):
    with serving(cluster.versions(weight=50)) as gateway, Client(gateway.url, timeout_s=60) as client:
        scores = [client.score_frames(frames[:4]).liveness for _ in range(40)]
        of_canary = sum(score == pytest.approx(GAIN * alone[0], abs=1e-3) for score in scores)
        of_stable = sum(score == pytest.approx(alone[0], abs=1e-5) for score in scores)
        assert of_canary + of_stable == 40
        assert 8 <= of_canary <= 32
        assert answers(gateway, "canary") == of_canary


def test_questions_about_models_have_one_answer(cluster, weights_label):
    with serving(cluster.versions(weight=100)) as gateway:
        for _ in range(4):
            with Client(gateway.url) as client:
                assert client.weights() == weights_label


def test_a_caller_may_name_the_version(cluster, frames, alone, weights_label):
    with serving(cluster.versions(weight=0)) as gateway:
        with Client(gateway.url, headers={TRACK_HEADER: "canary"}) as client:
            assert client.score_frames(frames[:4]).liveness == pytest.approx(GAIN * alone[0], abs=1e-3)
            assert client.weights() == CANDIDATE_LABEL
        with Client(gateway.url, headers={TRACK_HEADER: "stable"}) as client:
            assert client.weights() == weights_label
    with (
        serving(cluster.versions(weight=100)) as gateway,
        Client(gateway.url, headers={TRACK_HEADER: "stable"}) as client,
    ):
        assert client.score_frames(frames[:4]).liveness == pytest.approx(alone[0], abs=1e-5)
    with (
        serving(cluster.versions()) as gateway,
        Client(gateway.url, headers={TRACK_HEADER: "canary"}) as client,
        pytest.raises(RequestRefusedError, match="no canary"),
    ):
        client.score_frames(frames[:4])


def test_a_stream_stays_on_its_version_when_the_weight_changes(cluster, frames, alone):
    with serving(cluster.versions(0, weight=100)) as first:
        on_canary = RawStream(71, frames)
        seen = [on_canary.next(first) for _ in range(3)]
        with serving(cluster.versions(1, weight=0)) as second:
            on_stable = RawStream(72, frames)
            new = [on_stable.next(second) for _ in range(3)]
            seen += [on_canary.next(second) for _ in range(3)]
            new += [on_stable.next(first) for _ in range(3)]
            first.kill()
            seen += [on_canary.next(second) for _ in range(FRAMES - 6)]
            new += [on_stable.next(second) for _ in range(FRAMES - 6)]
    assert seen == pytest.approx([GAIN * score for score in alone[1]], abs=1e-3)
    assert new == pytest.approx(alone[1], abs=1e-5)


def test_the_way_back_at_once_loses_no_stream(cluster, frames, alone, caplog):
    caplog.set_level("INFO", "eulernet_client")
    with (
        serving(cluster.versions(weight=100)) as gateway,
        Client(gateway.url, timeout_s=60) as client,
        client.stream() as stream,
    ):
        before = [stream.score(frame).liveness for frame in frames[:5]]
        gateway.kill()
        with serving(cluster.versions()):
            after = [stream.score(frame).liveness for frame in frames[5:]]
    assert before == pytest.approx([GAIN * score for score in alone[1][:5]], abs=1e-3)
    assert after == pytest.approx(alone[1][5:], abs=1e-5)
    assert [getattr(record, "event", "") for record in caplog.records].count("replay") == 1


@contextmanager
def shadow_container(cluster):
    """Runs the command of the shadow's container, as the chart renders it."""
    command = [str(HELM.fetch()), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    command += ["--show-only", "templates/gateway-statefulset.yaml"]
    done = subprocess.run(command, input=json.dumps(cluster.values), capture_output=True, text=True, check=True)
    (found,) = (
        each
        for each in yaml.safe_load(done.stdout)["spec"]["template"]["spec"]["containers"]
        if each["name"] == "shadow"
    )
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with subprocess.Popen([*found["command"], *found["args"]], env=path, stderr=subprocess.DEVNULL) as running:
        try:
            yield psutil.Process(running.pid)
        finally:
            running.terminate()


def test_shadowed_clips_are_answered_from_the_stable_version(cluster, frames, alone):
    with serving(cluster.versions(weight=0, percent=100)) as gateway, Client(gateway.url, timeout_s=60) as client:
        page = f"http://127.0.0.1:{cluster.shadow_ports['metrics']}/metrics"
        with shadow_container(cluster) as container:
            wait_up(gateway, "shadow")
            for _ in range(6):
                assert client.score_frames(frames[:4]).liveness == pytest.approx(alone[0], abs=1e-5)
            text, deadline_s = "", time.monotonic() + 60
            while 'calls_total{result="compared"} 6.0' not in text:
                assert time.monotonic() < deadline_s, text
                time.sleep(0.2)
                text = urllib.request.urlopen(page).read().decode()
            assert answers(gateway, "canary") == 6
            assert answers(gateway, "shadow") == 6
            (relay,) = container.children()
            relay.kill()
            wait_up(gateway, "shadow", up=False)
            assert client.score_frames(frames[:4]).liveness == pytest.approx(alone[0], abs=1e-5)
            assert answers(gateway, "shadow") == 6
            wait_up(gateway, "shadow", timeout_s=60)
            assert client.score_frames(frames[:4]).liveness == pytest.approx(alone[0], abs=1e-5)
            assert answers(gateway, "shadow") == 7
        wait_up(gateway, "shadow", up=False)


def test_clips_go_to_the_stable_version_when_the_canary_is_gone(cluster, frames, alone):
    """The last test: it ends the canary's door."""
    with serving(cluster.versions(weight=100)) as gateway, Client(gateway.url, timeout_s=60) as client:
        assert client.score_frames(frames[:4]).liveness == pytest.approx(GAIN * alone[0], abs=1e-3)
        cluster.canary_door.kill()
        wait_up(gateway, "canary", up=False)
        assert client.score_frames(frames[:4]).liveness == pytest.approx(alone[0], abs=1e-5)
