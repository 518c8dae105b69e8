# SPDX-License-Identifier: Apache-2.0
"""Replicas that come, drain and die, and a gateway that dies, under load: no clip fails, no stream is lost."""

import os
import signal
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from deploy.gateway.local_cluster import free_ports
from eulernet_client import Client
from eulernet_core.limits import STREAM_HEADER
from eulernet_core.tensors import ENCODED, LIVENESS, STREAM_MODEL
from tests.deploy.gateway_cluster import Cluster
from tests.deploy.gateway_load import Load, nothing_lost
from tests.serving.served_process import Serving, shared_memory

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(400)]
DRAIN_MIN_S = 3
START_S = 120


class Replicas:
    """Servers with their supervisors, each behind a door of its own as in a pod."""

    def __init__(self, cluster, repository, folder):
        self._cluster, self._repository, self._folder = cluster, repository, folder
        self._running = {}

    def ready(self, *numbers):
        """Waits until these replicas answer; starts those that do not run, one after the other."""
        for number in numbers:
            self.start(number)
            deadline_s = time.monotonic() + START_S
            while "ready after" not in self[number].err:
                assert time.monotonic() < deadline_s, self[number].err
                self.restart_if_ended(number)
                time.sleep(0.1)
            self[number].wait_ready()

    def start(self, number):
        """Starts a replica and opens its door, but does not wait until it answers."""
        if number not in self._running:
            ports = free_ports(3)
            self._running[number] = self._serve(number, ports), self._cluster.door(number, *ports), ports

    def restart_if_ended(self, number):
        """As the kubelet does: this Triton release may end while it starts on a busy machine (lock_exception)."""
        serving, door, ports = self._running[number]
        if serving.process.poll() is not None:
            assert "lock_exception" in serving.err
            serving.end()
            self._running[number] = self._serve(number, ports), door, ports

    def _serve(self, number, ports):
        folder = self._folder / f"replica-{number}-{time.monotonic_ns()}"
        folder.mkdir()
        options = ["--repository", str(self._repository), "--drain-min-s", str(DRAIN_MIN_S)]
        names = ("grpc", "metrics", "health")
        serving = Serving(*options, *(f"--{n}-port={port}" for n, port in zip(names, ports, strict=True)), cwd=folder)
        serving.url = f"127.0.0.1:{ports[0]}"
        return serving

    def __getitem__(self, number):
        """The server of a replica."""
        return self._running[number][0]

    def kill(self, number):
        """Ends all of a replica at once, as when its node is lost."""
        serving, door, _ = self._running.pop(number)
        for pid in [*serving.processes(), door.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        serving.end()
        door.process.wait()
        for name in shared_memory({serving.process.pid}):  # in a pod it goes with the pod
            Path("/dev/shm", name).unlink(missing_ok=True)

    def drained(self, number, timeout_s):
        """Waits for the end of a replica that was asked to end, and returns its exit status."""
        serving, door, _ = self._running.pop(number)
        status = serving.end(timeout_s)[0]
        door.kill()
        return status

    def stop(self, *numbers):
        """Ends these replicas, as far as they run."""
        for number in self._running.keys() & set(numbers):
            self.kill(number)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as opened:
        yield opened


@pytest.fixture(scope="module")
def replicas(cluster, repository, tmp_path_factory):
    opened = Replicas(cluster, repository, tmp_path_factory.mktemp("replicas"))
    try:
        yield opened
    finally:
        opened.stop(0, 1)


@pytest.fixture
def gateways(cluster, replicas):
    """`gateways(count, *numbers)`: gateways that may call these replicas; `begin`: number of the first gateway."""
    opened = []

    def start(count, *numbers, begin=0):
        replicas.ready(*numbers)
        cluster.list(*numbers)
        started = [cluster.gateway(begin + number, replicas=len(numbers)) for number in range(count)]
        opened.extend(started)
        return started

    yield start
    for each in opened:
        if each.process.poll() is None:
            each.kill()


def answered(gateway, replica):
    """Requests that a replica has answered through a gateway, in the order in which the gateway found its replicas."""
    return gateway.metric(
        "haproxy_server_http_responses_total", proxy="replicas", server=f"replica{replica}", code="2xx"
    )


def test_a_killed_gateway(gateways, replicas, moving_faces, caplog):
    first, second = gateways(2, 0, 1)
    with (
        Client([first.url, second.url], timeout_s=60) as client,
        nothing_lost(caplog),
        Load(client, moving_faces, replicas[0].url) as load,
    ):
        load.go_on()
        first.kill()
        load.go_on()
        assert answered(second, 1) > 10
        assert answered(second, 2) > 10


def test_a_gateway_that_ends_in_order(gateways, replicas, moving_faces, caplog):
    first, second = gateways(2, 0, 1)
    with (
        Client([first.url, second.url], timeout_s=60) as client,
        nothing_lost(caplog),
        Load(client, moving_faces, replicas[0].url) as load,
    ):
        load.go_on()
        first.drain()
        load.until(lambda: first.process.poll() is not None, 45)
        load.go_on()


def test_a_replica_that_is_added_before_it_is_ready(gateways, cluster, replicas, moving_faces, caplog):
    replicas.stop(1)
    (gateway,) = gateways(1, 0)
    with (
        Client(gateway.url, timeout_s=60) as client,
        nothing_lost(caplog, replays=0),
        Load(client, moving_faces, replicas[0].url) as load,
    ):
        load.go_on(streams=2)
        replicas.start(1)
        cluster.list(0, 1)
        load.until(lambda: replicas.restart_if_ended(1) or answered(gateway, 2) > 20)
        load.go_on()


def test_a_replica_that_drains(gateways, cluster, replicas, moving_faces, caplog):
    (gateway,) = gateways(1, 0, 1)
    with (
        Client(gateway.url, timeout_s=60) as client,
        nothing_lost(caplog, replays=0),
        Load(
            client, moving_faces, replicas[0].url, streams=3, frames=45
        ) as load,  # longer than the gateway takes to see it,
    ):
        load.until(lambda: min(answered(gateway, 1), answered(gateway, 2)) > 20)
        replicas[1].process.terminate()
        load.until(lambda: replicas[1].process.poll() is not None)
        cluster.list(0)
        load.go_on()
    assert replicas.drained(1, 10) == 0


def test_a_killed_replica(gateways, cluster, replicas, moving_faces, caplog):
    (gateway,) = gateways(1, 0, 1)
    with (
        Client(gateway.url, timeout_s=60) as client,
        nothing_lost(caplog),
        Load(client, moving_faces, replicas[0].url) as load,
    ):
        load.until(lambda: min(answered(gateway, 1), answered(gateway, 2)) > 20)
        replicas.kill(1)
        load.go_on(clips=2, streams=2)
        cluster.list(0)
        load.go_on()


def test_clips_of_one_connection_reach_every_replica(gateways, moving_faces):
    (gateway,) = gateways(1, 0, 1)
    frames = moving_faces(4, 2)
    with Client(gateway.url) as client:
        for _ in range(12):
            client.score_frames(frames)
    assert min(answered(gateway, 1), answered(gateway, 2)) >= 5


def test_gateways_that_found_the_replicas_in_another_order_agree(cluster, gateways, replicas, moving_faces):
    replicas.ready(0, 1)
    (first,) = gateways(1, 0)
    (second,) = gateways(1, 1, begin=1)
    cluster.list(0, 1)
    for each in (first, second):
        each.wait_ready(replicas=2)
    assert "replica1 changed its IP from (none) to 127.0.2.1" in first.log
    assert "replica1 changed its IP from (none) to 127.0.2.2" in second.log
    frames = moving_faces(6, 9)
    with Client(replicas[0].url) as client, client.stream() as stream:
        expected = [stream.score(frame).liveness for frame in frames]
    with (
        closing(triton.InferenceServerClient(first.url)) as one,
        closing(triton.InferenceServerClient(second.url)) as other,
    ):
        for number in range(4):
            assert other.is_server_live()  # of another number of requests than the first gateway, so that turns differ
            seen = []
            for t, frame in enumerate(frames):
                tensor = triton.InferInput(ENCODED, [1, len(frame)], "UINT8")
                tensor.set_data_from_numpy(np.frombuffer(frame, np.uint8)[None])
                order = {"sequence_id": 70 + number, "sequence_start": t == 0, "sequence_end": t == len(frames) - 1}
                headers = {STREAM_HEADER: f"stream-{number}"}
                result = (one, other)[t % 2].infer(STREAM_MODEL, [tensor], headers=headers, client_timeout=20, **order)
                seen.append(result.as_numpy(LIVENESS).item())
                time.sleep(0.1)  # the gateways tell each other in the background
            assert seen == pytest.approx(expected, abs=1e-5)
