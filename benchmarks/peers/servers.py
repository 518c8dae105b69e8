# SPDX-License-Identifier: Apache-2.0
"""The ways with a server: in separate processes, over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.bench_loads import CLIPS_AS_STREAMS, Streams, as_streams
from benchmarks.peers.body import HEADERS, pack
from benchmarks.peers.child_process import free_port, started
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Idle, Load, attacked
from benchmarks.peers.scoring import ClipScoring, Scoring, StreamScoring
from benchmarks.peers.triton_statistics import Counts, counters, difference
from benchmarks.peers.ways import Place, Running, Setting
from benchmarks.process_usage import Tree
from eulernet_client import AsyncClient
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.target import Target
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.embedded_server import HOST, EmbeddedServer, Ports

READY_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 30.0
OPEN_LOOP_CALLS = 16  # expected at once; decides the number of connections


@dataclass
class Served:
    """A running server; see ways.Running.

    Attributes:
        traffic: the clips.
        connect: makes a target for a number of calls in progress.
        scoring: connects for scores.
        tree: the server's processes.
        mode: clip calls or streams.
        streams: in the mode of streams.
        url: of Triton, for its statistics; empty for the other servers.
        idle: before the first load.
    """

    traffic: Traffic
    connect: Callable[[int], Target]
    scoring: Callable[[], contextlib.AbstractAsyncContextManager[Scoring]]
    tree: Tree
    mode: Mode = Mode.CLIPS
    streams: Streams = CLIPS_AS_STREAMS
    url: str = ""
    idle: Idle | None = None
    stages: dict[str, Counts] = field(default_factory=dict)

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """See Running.scores."""

        async def ask() -> list[list[float]]:
            async with self.scoring() as scoring:
                return [await scoring.liveness(clip, exact) for clip in self.traffic.clips()]

        return np.array(asyncio.run(ask()))

    def load(self, plan: Plan) -> Load:
        """See Running.load."""
        if self.mode is Mode.STREAMS:
            plan = as_streams(plan, self.streams)
        before = counters(self.url) if self.url else {}
        calls = plan.concurrency or OPEN_LOOP_CALLS
        load = asyncio.run(attacked(plan, self.traffic, lambda: self.connect(calls), self.tree))
        self.stages = difference(before, counters(self.url)) if self.url else {}
        return load


@contextlib.contextmanager
def python_server(
    place: Place, setting: Setting, module: str, graphs: Mapping[str, Path], log: str
) -> Iterator[Running]:
    """One of this package's servers; ready when it has scored a clip. `graphs`: its options with paths."""
    from benchmarks.peers.http_target import HttpTarget

    port = free_port()
    paths = [part for name, path in graphs.items() for part in (f"--{name}", str(path))]
    arguments = [*paths, "--port", str(port), *setting.arguments()]
    begun_s = time.monotonic()
    with started(f"benchmarks.peers.{module}", arguments, place.logs / f"{log}.log") as child:
        (clip, *_) = place.traffic.clips()
        child.wait_until(lambda: _answers(port, clip), READY_TIMEOUT_S)
        ready_s, tree = time.monotonic() - begun_s, Tree(child.pid)
        idle = Idle(ready_s, tree.memory().pss_bytes)
        yield Served(place.traffic, lambda calls: HttpTarget(port), lambda: HttpTarget(port), tree, idle=idle)
        child.check_running()


def fastapi(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """FastAPI with the fp32 graph."""
    graphs = {"detector": place.detector, "network": place.network}
    return python_server(place, setting, "fastapi_server", graphs, "fastapi")


def fastapi_int8(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """FastAPI with the int8 graph."""
    assert place.inputs.int8 is not None  # Inputs.absent leaves the way out
    graphs = {"detector": place.detector, "network": place.inputs.int8}
    return python_server(place, setting, "fastapi_server", graphs, "fastapi_int8")


def silent_face(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """FastAPI with MiniFASNet."""
    assert place.inputs.silent_face is not None  # as above
    graphs = {"detector": place.detector, "silent-face": place.inputs.silent_face}
    return python_server(place, setting, "fastapi_server", graphs, "silent_face")


def silent_face_own_detector(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """FastAPI with MiniFASNet and that method's own detector."""
    assert place.inputs.silent_face is not None  # as above
    assert place.inputs.retinaface is not None
    graphs = {"retinaface": place.inputs.retinaface, "silent-face": place.inputs.silent_face}
    return python_server(place, setting, "fastapi_server", graphs, "silent_face_own_detector")


def litserve(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """LitServe with the fp32 graph."""
    graphs = {"detector": place.detector, "network": place.network}
    return python_server(place, setting, "litserve_server", graphs, "litserve")


def _answers(port: int, jpegs: Sequence[bytes]) -> bool:
    """Whether a clip is scored; False while nothing listens. Raises: BenchError for an HTTP error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://{HOST}:{port}/score", pack(jpegs), HEADERS)
    try:
        with opener.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        with error:
            raise BenchError(f"port {port}: {error.code} {error.read(300).decode(errors='replace')}") from error
    except OSError:
        return False


def triton_served(
    place: Place, mode: Mode, url: str, tree: Tree, ready_s: float, streams: Streams = CLIPS_AS_STREAMS
) -> Served:
    """A running Triton server. `ready_s`: see Idle."""

    def client() -> AsyncClient:
        return AsyncClient(url, timeout_s=REQUEST_TIMEOUT_S, retry=False)

    @contextlib.asynccontextmanager
    async def scoring() -> AsyncIterator[Scoring]:
        async with client() as connected:
            yield (
                ClipScoring(connected)
                if mode is Mode.CLIPS
                else StreamScoring(connected, streams.chunk, streams.in_flight)
            )

    idle = Idle(ready_s, tree.memory().pss_bytes)
    return Served(place.traffic, lambda calls: Target(client, calls), scoring, tree, mode, streams, url, idle)


@contextlib.contextmanager
def triton(
    place: Place, mode: Mode, repository: Path | None = None, streams: Streams = CLIPS_AS_STREAMS
) -> Iterator[Running]:
    """The embedded server with the shipped configuration, or with another repository."""
    begun_s = time.monotonic()
    repository = repository or place.repository
    with EmbeddedServer(repository, Ports(0, 0), place.logs / f"triton_{mode.value}.log") as server:
        server.wait_ready(READY_TIMEOUT_S)
        ready_s = time.monotonic() - begun_s
        yield triton_served(place, mode, server.url, Tree.of_server(server), ready_s, streams)
        server.check_running()


def clip_call(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """The clip call."""
    return triton(place, Mode.CLIPS)


def sequences(
    place: Place, setting: Setting, streams: Streams = CLIPS_AS_STREAMS
) -> contextlib.AbstractContextManager[Running]:
    """Sequences: of four frames, or as `streams` says."""
    return triton(place, Mode.STREAMS, streams=streams)


def one_stage_clip_call(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """The clip call of the server with one stage."""
    return triton(place, Mode.CLIPS, place.inputs.one_stage)


def one_stage_sequences(
    place: Place, setting: Setting, streams: Streams = CLIPS_AS_STREAMS
) -> contextlib.AbstractContextManager[Running]:
    """Sequences at the server with one stage."""
    return triton(place, Mode.STREAMS, place.inputs.one_stage, streams)
