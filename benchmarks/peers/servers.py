# SPDX-License-Identifier: Apache-2.0
"""Ways (a) to (d): servers in separate processes, over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.body import HEADERS, pack
from benchmarks.peers.child_process import free_port, started
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Load, attacked
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


@dataclass
class Served:
    """A running server; see ways.Running.

    Attributes:
        traffic: the clips.
        connect: makes a target for a number of calls in progress.
        scoring: connects for scores.
        tree: the server's processes.
        mode: clip calls or streams.
        url: of Triton, for its statistics; empty for the other servers.
    """

    traffic: Traffic
    connect: Callable[[int], Target]
    scoring: Callable[[], contextlib.AbstractAsyncContextManager[Scoring]]
    tree: Tree
    mode: Mode = Mode.CLIPS
    url: str = ""
    stages: dict[str, Counts] = field(default_factory=dict)

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """See Running.scores."""

        async def ask() -> list[list[float]]:
            async with self.scoring() as scoring:
                return [await scoring.liveness(clip, exact) for clip in self.traffic.clips()]

        return np.array(asyncio.run(ask()))

    def load(self, plan: Plan) -> Load:
        """See Running.load."""
        plan = replace(plan, mode=self.mode)
        before = counters(self.url) if self.url else {}
        load = asyncio.run(attacked(plan, self.traffic, lambda: self.connect(plan.concurrency or 1), self.tree))
        self.stages = difference(before, counters(self.url)) if self.url else {}
        return load


@contextlib.contextmanager
def python_server(place: Place, setting: Setting, module: str) -> Iterator[Running]:
    """One of this package's servers; ready when it has scored a clip."""
    from benchmarks.peers.http_target import HttpTarget

    port = free_port()
    arguments = ["--repository", str(place.repository), "--port", str(port), *setting.arguments()]
    with started(f"benchmarks.peers.{module}", arguments, place.logs / f"{module}.log") as child:
        (clip, *_) = place.traffic.clips()
        child.wait_until(lambda: _answers(port, clip), READY_TIMEOUT_S)
        yield Served(place.traffic, lambda calls: HttpTarget(port), lambda: HttpTarget(port), Tree(child.pid))
        child.check_running()


def fastapi(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (a)."""
    return python_server(place, setting, "fastapi_server")


def litserve(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (b)."""
    return python_server(place, setting, "litserve_server")


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


@contextlib.contextmanager
def triton(place: Place, mode: Mode) -> Iterator[Running]:
    """The embedded server with the shipped configuration."""

    def client() -> AsyncClient:
        return AsyncClient(server.url, timeout_s=REQUEST_TIMEOUT_S, retry=False)

    @contextlib.asynccontextmanager
    async def scoring() -> AsyncIterator[Scoring]:
        async with client() as connected:
            yield ClipScoring(connected) if mode is Mode.CLIPS else StreamScoring(connected)

    with EmbeddedServer(place.repository, Ports(0, 0), place.logs / f"triton_{mode.value}.log") as server:
        server.wait_ready(READY_TIMEOUT_S)
        tree = Tree.of_server(server)
        yield Served(place.traffic, lambda calls: Target(client, calls), scoring, tree, mode, server.url)
        server.check_running()


def clip_call(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (c)."""
    return triton(place, Mode.CLIPS)


def sequences(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (d)."""
    return triton(place, Mode.STREAMS)
