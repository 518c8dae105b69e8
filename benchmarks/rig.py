# SPDX-License-Identifier: Apache-2.0
"""The real server under the load tester's load, with measurements of its processes and stages."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from statistics import mean, median
from types import TracebackType
from typing import Any

import tritonclient.grpc as triton

from benchmarks.process_usage import Tree, machine_cpu_s
from eulernet_client import AsyncClient
from eulernet_loadtest.metrics import Outcome
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.results import Machine, Run
from eulernet_loadtest.runner import Runner
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.embedded_server import HOST, EmbeddedServer, Ports, served_repository
from eulernet_serving.triton_config import read_config

READY_TIMEOUT_S = 300.0  # every stage of a GPU server imports torch
REQUEST_TIMEOUT_S = 60.0
PACKAGES = (
    "eulernet",
    "nvidia-pytriton",
    "openvino",
    "simplejpeg",
    "opencv-python-headless",
    "tritonclient",
)


@dataclass(frozen=True)
class Stage:
    """One model during a load. `busy`: share of the time that an instance computed, 0 to 1; `batch`: mean number of
    requests in an execution; `instances`: as configured."""

    busy: float
    batch: float
    instances: int


@dataclass(frozen=True)
class Load:
    """One measured load.

    Attributes:
        mode: `clips` or `streams`.
        concurrency: calls or streams in progress.
        throughput_fps: frames/s that were scored in time.
        p50_ms, p99_ms: latency of a request (clip call or frame) from its scheduled send; None without an answer.
        requests, not_ok: number of requests, and of requests without a score in time.
        server_cores, client_cores, other_cores: processor time of the server, the load tester and all other programs,
            in cores.
        stages: by model.
    """

    mode: str
    concurrency: int
    throughput_fps: float
    p50_ms: float | None
    p99_ms: float | None
    requests: int
    not_ok: int
    server_cores: float
    client_cores: float
    other_cores: float
    stages: dict[str, Stage]


def combined(rounds: list[Load]) -> Load:
    """Combines the rounds of one load: the median of each value, the sums of the counts."""
    first = rounds[0]

    def middle(name: str) -> Any:
        values = [value for each in rounds if (value := getattr(each, name)) is not None]
        return median(values) if values else None

    return Load(
        mode=first.mode,
        concurrency=first.concurrency,
        **{name: middle(name) for name in ("throughput_fps", "p50_ms", "p99_ms")},
        requests=sum(each.requests for each in rounds),
        not_ok=sum(each.not_ok for each in rounds),
        **{name: middle(name) for name in ("server_cores", "client_cores", "other_cores")},
        stages={
            name: Stage(
                busy=mean(each.stages[name].busy for each in rounds if name in each.stages),
                batch=mean(each.stages[name].batch for each in rounds if name in each.stages),
                instances=stage.instances,
            )
            for name, stage in first.stages.items()
        },
    )


@dataclass(frozen=True)
class _Snapshot:
    at_s: float
    server_cpu_s: float
    machine_cpu_s: float
    stages: dict[str, tuple[int, int, int]]  # ns of compute time, executions, requests


class Rig:
    """A running server under measurement. Use it in a `with` block.

    Args:
        repository: a complete model repository.
        log: file for the server's output.
    Raises: ServerError if the server does not get ready; TritonMissingError.
    """

    def __init__(self, repository: Path, log: Path) -> None:
        self.repository = repository
        self.server = EmbeddedServer(repository, Ports(0, 0), log)
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.server.wait_ready(READY_TIMEOUT_S)
            self._statistics = stack.enter_context(
                triton.InferenceServerClient(self.server.url, channel_args=[("grpc.enable_http_proxy", 0)])
            )
            self._tree = Tree.of_server(self.server)
            served = served_repository(self.repository)
            paths = {each.name: served.config(each.name) for each in served.models.iterdir()}
            configs = {name: read_config(path) for name, path in paths.items() if path.is_file()}
            self._instances = {
                name: max(1, sum(group.count for group in config.instance_group))
                for name, config in configs.items()
                if config.platform != "ensemble"  # without instances: its steps compute
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def runner(self, traffic: Traffic) -> Runner:
        """Runs plans on this server."""

        def client() -> AsyncClient:
            return AsyncClient(self.server.url, timeout_s=REQUEST_TIMEOUT_S, retry=False)

        return Runner(client, traffic, REQUEST_TIMEOUT_S)

    def load(self, traffic: Traffic, plan: Plan) -> Load:
        """Runs one plan. Raises: ServerError if the server has ended."""
        return self.watch(lambda: self.runner(traffic).run([plan])[0])

    def watch(self, run: Callable[[], Run]) -> Load:
        """Measures the server during a run of the load tester. Raises: ServerError if the server has ended."""
        before = self._snapshot()
        measured = run()
        after = self._snapshot()
        self.server.check_running()
        return _load(measured, before, after, self._instances)

    def pss_bytes(self) -> int:
        """Memory of the server's processes; shared pages count once (proportional set size)."""
        return self._tree.memory().pss_bytes

    def open_sequences(self) -> dict[str, int]:
        """The metric eulernet_open_sequences, by model."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self.server.ports.metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r'^eulernet_open_sequences\{[^}]*model="([^"]+)"[^}]*\} (\d+)', text, re.MULTILINE)
        return {model: int(number) for model, number in found}

    def _snapshot(self) -> _Snapshot:
        answer = self._statistics.get_inference_statistics(as_json=False)
        # From the batch statistics: in a request's statistics a batch's time counts once for each request in it.
        stages = {
            model.name: (
                sum(b.compute_input.ns + b.compute_infer.ns + b.compute_output.ns for b in model.batch_stats),
                int(model.execution_count),
                int(model.inference_count),
            )
            for model in answer.model_stats
        }
        return _Snapshot(time.monotonic(), self._tree.cpu_s(), machine_cpu_s(), stages)


def _load(run: Run, before: _Snapshot, after: _Snapshot, instances: dict[str, int]) -> Load:
    wall_s = after.at_s - before.at_s
    server = (after.server_cpu_s - before.server_cpu_s) / wall_s
    client = run.client_cpu or 0.0
    latency = run.request.corrected
    stages = {}
    for name, now in after.stages.items():
        ns, executions, requests = (a - b for a, b in zip(now, before.stages.get(name, (0, 0, 0)), strict=True))
        if executions and instances.get(name):
            count = instances[name]
            stages[name] = Stage(min(1.0, ns / 1e9 / wall_s / count), requests / executions, count)
    return Load(
        mode=run.mode,
        concurrency=run.concurrency or 0,
        throughput_fps=run.throughput_fps,
        p50_ms=latency.p50_ms if latency else None,
        p99_ms=latency.p99_ms if latency else None,
        requests=sum(run.counts.values()),
        not_ok=sum(run.counts.values()) - run.counts[Outcome.OK.value],
        server_cores=server,
        client_cores=client,
        other_cores=max(0.0, (after.machine_cpu_s - before.machine_cpu_s) / wall_s - server - client),
        stages=stages,
    )


def surroundings(rig: Rig, traffic: Traffic) -> dict[str, Any]:
    """Date, machine, versions and weights, for results.json."""
    server_version, weights = rig.runner(traffic).server()
    return {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": asdict(Machine.here()),
        "versions": {"triton": server_version, **{name: metadata.version(name) for name in PACKAGES}},
        "weights": weights,
    }
