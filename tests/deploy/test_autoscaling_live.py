# SPDX-License-Identifier: Apache-2.0
"""The ScaledObject's queries on a real Prometheus that scrapes real servers under the load tester's load."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deploy.autoscaling.replica_arithmetic import Trigger, triggers, wanted_replicas
from deploy.monitoring.live_monitoring import LiveMonitoring
from deploy.tools import ToolError
from eulernet_client import AsyncClient, Client
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.results import Run
from eulernet_loadtest.runner import Runner
from eulernet_loadtest.traffic import Source, Traffic
from eulernet_serving.embedded_server import HOST, EmbeddedServer
from tests.conftest import TIGHT_SLOTS
from tests.deploy.rendered_chart import NAMESPACE, RELEASE, Manifest, of_kind, rendered

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]
INTERVAL_S, WINDOW_S = 1, 20
LOAD_S = 30.0  # longer than the window
STREAMS = 6
SETTINGS = (
    "autoscaling.enabled=true",
    "autoscaling.prometheus.url=http://prometheus:9090",
    f"autoscaling.windowSeconds={WINDOW_S}",
    f"serviceMonitor.intervalSeconds={INTERVAL_S}",
    "autoscaling.openStreams=2",
    "autoscaling.queueMilliseconds=5",
)
THIS, OTHER = f"{RELEASE}-eulernet-replicas", "other-eulernet-replicas"


class Scraped(LiveMonitoring):
    """Prometheus with the labels that a ServiceMonitor gives. `services`: metrics pages by the Service's name."""

    def __init__(self, services: dict[str, list[str]], folder: Path) -> None:
        super().__init__([each for pages in services.values() for each in pages], folder, INTERVAL_S)
        self._services = services

    def _configuration(self) -> dict[str, Any]:
        configuration = super()._configuration()
        configuration["scrape_configs"][0]["static_configs"] = [
            {"targets": pages, "labels": {"namespace": NAMESPACE, "service": service}}
            for service, pages in self._services.items()
        ]
        return configuration

    def values(self, expr: str) -> list[float]:
        """The values of an instant query."""
        return [float(series["value"][1]) for series in self.query(expr)]

    def reading(self, scaled_object: Manifest) -> dict[str, float | None]:
        """What KEDA makes of each trigger now."""
        return {each.name: each.value(self.values(each.query)) for each in triggers(scaled_object)}


@pytest.fixture(scope="module")
def scaled_object() -> Manifest:
    (found,) = of_kind(rendered("values.yaml", *SETTINGS), "ScaledObject")
    return found


@pytest.fixture(scope="module")
def prometheus(
    server: EmbeddedServer, tight_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scraped]:
    """`server` is the replica of this service, `tight_server` that of another one."""
    pages = {service: [f"{HOST}:{each.ports.metrics}"] for service, each in ((THIS, server), (OTHER, tight_server))}
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(Scraped(pages, tmp_path_factory.mktemp("prometheus")))
        except ToolError as error:
            pytest.skip(f"no Prometheus: {error}")
        until(lambda: len(running.query("up == 1")) == 2)
        yield running


@pytest.fixture
def traffic(moving_faces: Callable[[int, int], list[bytes]]) -> Traffic:
    return Traffic((Source("faces", tuple(moving_faces(12, 5))),))


def until(reached: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline_s, f"not reached in {timeout_s} s"
        time.sleep(0.5)


def trigger(scaled_object: Manifest, name: str) -> Trigger:
    (found,) = [each for each in triggers(scaled_object) if each.name == name]
    return found


def load(server: EmbeddedServer, traffic: Traffic, concurrency: int) -> Run:
    """Clip calls of the load tester, each after an answer."""
    runner = Runner(lambda: AsyncClient(server.url, timeout_s=120, retry=False), traffic, 120, show=False)
    return runner.run([Plan(Mode.CLIPS, concurrency=concurrency, duration_s=LOAD_S, warm_up_s=1)])[0]


def test_open_streams_of_this_service_are_counted(
    prometheus: Scraped, scaled_object: Manifest, server: EmbeddedServer, tight_server: EmbeddedServer, traffic: Traffic
) -> None:
    query = trigger(scaled_object, "open-streams")
    until(lambda: query.value(prometheus.values(query.query)) == 0)
    with contextlib.ExitStack() as stack:
        jpeg = traffic.sources[0].jpegs[0]
        for url, count in ((server.url, STREAMS), (tight_server.url, TIGHT_SLOTS // 4)):
            client = stack.enter_context(Client(url, timeout_s=120))
            for _ in range(count):
                stack.enter_context(client.stream()).score(jpeg)
        until(lambda: prometheus.reading(scaled_object)[query.name] == STREAMS, 25)
        # Two streams for each replica. The other trigger depends on the machine here.
        seen = {**prometheus.reading(scaled_object), "queue-milliseconds": 0.0}
        assert [wanted_replicas(scaled_object, seen, current) for current in (1, 3, 8)] == [3, 3, 3]
    until(lambda: prometheus.reading(scaled_object)[query.name] == 0)
    seen = {**prometheus.reading(scaled_object), "queue-milliseconds": 0.0}
    assert wanted_replicas(scaled_object, seen, current=3) == 2  # the lower bound


def test_time_in_the_queues_of_this_service_rises_with_its_load_alone(
    prometheus: Scraped, scaled_object: Manifest, server: EmbeddedServer, tight_server: EmbeddedServer, traffic: Traffic
) -> None:
    query = trigger(scaled_object, "queue-milliseconds")
    until(lambda: prometheus.reading(scaled_object)[query.name] == 0)  # idle: no request, and no division by zero

    def under(each: EmbeddedServer, concurrency: int) -> tuple[float, Run]:
        """The query's value near the end of a load."""
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(load, each, traffic, concurrency)
            time.sleep(LOAD_S - 2)
            (value,) = prometheus.values(query.query)
            return value, run.result()

    elsewhere, _ = under(tight_server, 8)
    assert elsewhere == 0
    alone, _ = under(server, 1)
    crowded, run = under(server, 12)
    assert run.clip is not None
    assert run.clip.uncorrected is not None
    assert crowded > 3 * max(alone, 1.0)
    # A request waits for a part of its latency: all of the queues of its stages together.
    assert 0.2 * run.clip.uncorrected.mean_ms < crowded < 1.1 * run.clip.uncorrected.mean_ms
    wanted = wanted_replicas(scaled_object, {query.name: crowded, "open-streams": 0}, current=2)
    assert wanted == min(8, -(-2 * crowded // 5))
    # What scaled late elsewhere: the mean of each model's mean counts the idle stages of streams as zeros or nothing.
    stages = f'namespace="{NAMESPACE}",service="{THIS}"'
    mean = (
        f"avg(rate(nv_inference_queue_duration_us{{{stages}}}[{WINDOW_S}s]) / 1000 / "
        f"clamp_min(rate(nv_inference_request_success{{{stages}}}[{WINDOW_S}s]), 0.1))"
    )
    (of_means,) = prometheus.values(mean)
    assert of_means < crowded / 2


def test_a_server_that_is_gone_does_not_look_idle(prometheus: Scraped, scaled_object: Manifest) -> None:
    """No series: the queries have no answer, and the number of replicas stays."""
    lost = {each.name: each.query.replace(THIS, "gone-eulernet-replicas") for each in triggers(scaled_object)}
    values = {each.name: each.value(prometheus.values(lost[each.name])) for each in triggers(scaled_object)}
    assert values == dict.fromkeys(lost)
    assert wanted_replicas(scaled_object, values, current=5) == 5
