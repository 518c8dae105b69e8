"""What the measurements share: the real server under a load of the load tester's, watched from its own side."""

from __future__ import annotations

import os
import re
import sys
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

import psutil
import tritonclient.grpc as triton
from eulernet_build.server import HOST, EmbeddedServer, Ports
from eulernet_build.triton_config import read_config
from eulernet_client.aio import AsyncClient
from eulernet_client.loadtest.metrics import Outcome
from eulernet_client.loadtest.plan import Plan
from eulernet_client.loadtest.results import Machine, Run
from eulernet_client.loadtest.runner import Runner
from eulernet_client.loadtest.traffic import Traffic

READY_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 60.0
PACKAGES = (
    "eulernet",
    "nvidia-pytriton",
    "MNN",
    "openvino",
    "nvidia-dali-cuda120",
    "opencv-python-headless",
    "tritonclient",
)


@dataclass(frozen=True)
class Stage:
    """One model during a load. `busy`: share of the time in which an instance of it computed, 0 to 1; `batch`: mean
    requests in one execution; `instances`: as configured."""

    busy: float
    batch: float
    instances: int


@dataclass(frozen=True)
class Load:
    """One measured load.

    Attributes:
        mode: `clips` or `streams`.
        concurrency: calls or streams at once.
        throughput_fps: frames/s that were scored and in time.
        p50_ms, p99_ms: of one request, a clip call or a frame, from when it was due; None where nothing was answered.
        requests, not_ok: all whose outcome counts, and those of them with any outcome but a score in time.
        server_cores, client_cores, other_cores: processor time, in cores, of the server, of the load tester, and of
            every other program on the machine.
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
    """The rounds of one load as one: the median of each figure, sums of the counts."""
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
    stages: dict[str, tuple[int, int, int]]  # ns of computing, executions, requests


class Rig:
    """A running server with what is needed to load and to watch it. Use it in a `with` block.

    Args:
        repository: a complete model repository.
        log: file that takes all that the server prints.
    Raises: ServerError where the server does not get ready; TritonMissingError.
    """

    def __init__(self, repository: Path, log: Path) -> None:
        self.repository = repository
        self.server = EmbeddedServer(repository, Ports(0, 0, 0), log)
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.server.wait_ready(READY_TIMEOUT_S)
            self._statistics = stack.enter_context(
                triton.InferenceServerClient(self.server.url, channel_args=[("grpc.enable_http_proxy", 0)])
            )
            self._tree = self._processes()
            configs = {path.parents[1].name: read_config(path) for path in self.repository.glob("*/configs/cpu.pbtxt")}
            self._instances = {
                name: max(1, sum(group.count for group in config.instance_group))
                for name, config in configs.items()
                if config.platform != "ensemble"  # it has no instances: its steps compute
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _processes(self) -> list[psutil.Process]:
        """The server and its stubs."""
        port = f"--grpc-port={self.server.ports.grpc}"
        (parent,) = (each for each in psutil.Process().children() if port in each.cmdline())
        return [parent, *parent.children(recursive=True)]

    def runner(self, traffic: Traffic) -> Runner:
        """What sends a plan's requests to this server."""
        return Runner(lambda: AsyncClient(self.server.url, timeout_s=REQUEST_TIMEOUT_S), traffic, REQUEST_TIMEOUT_S)

    def load(self, traffic: Traffic, plan: Plan) -> Load:
        """Carries out one plan. Raises: ServerError where the server has ended."""
        return self.watch(lambda: self.runner(traffic).run([plan])[0])

    def watch(self, run: Callable[[], Run]) -> Load:
        """What a run of the load tester's measured, with what the server's side tells. Raises: as `load`."""
        before = self._snapshot()
        measured = run()
        after = self._snapshot()
        self.server.check_running()
        return _load(measured, before, after, self._instances)

    def pss_bytes(self) -> int:
        """Memory of the server's processes, what they share counted once (proportional set size)."""
        return sum(int(each.memory_full_info().pss) for each in self._tree)

    def open_sequences(self) -> dict[str, int]:
        """The metric eulernet_open_sequences, by model."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self.server.ports.metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r'^eulernet_open_sequences\{[^}]*model="([^"]+)"[^}]*\} (\d+)', text, re.MULTILINE)
        return {model: int(number) for model, number in found}

    def _snapshot(self) -> _Snapshot:
        answer = self._statistics.get_inference_statistics(as_json=False)
        # Per execution: a request's own statistics count a batch's time once for each request in it.
        stages = {
            model.name: (
                sum(b.compute_input.ns + b.compute_infer.ns + b.compute_output.ns for b in model.batch_stats),
                int(model.execution_count),
                int(model.inference_count),
            )
            for model in answer.model_stats
        }
        times = [each.cpu_times() for each in self._tree]
        every = psutil.cpu_times(percpu=True)
        ours = [every[cpu] for cpu in os.sched_getaffinity(0) if cpu < len(every)]
        return _Snapshot(
            time.monotonic(),
            sum(each.user + each.system for each in times),
            sum(each.user + each.nice + each.system + each.irq + each.softirq + each.steal for each in ours),
            stages,
        )


def _load(run: Run, before: _Snapshot, after: _Snapshot, instances: dict[str, int]) -> Load:
    wall_s = after.at_s - before.at_s
    server = (after.server_cpu_s - before.server_cpu_s) / wall_s
    client = run.client_cpu or 0.0
    latency = (run.clip if run.mode == "clips" and run.clip is not None else run.frame).corrected
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
    """Where and with what is measured, for results.json."""
    server_version, weights = rig.runner(traffic).server()
    return {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": asdict(Machine.here()),
        "versions": {"triton": server_version, **{name: metadata.version(name) for name in PACKAGES}},
        "weights": weights,
    }


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
