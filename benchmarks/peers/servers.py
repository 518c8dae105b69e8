"""Ways (a) to (d): servers in processes of their own, loaded over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import psutil
from eulernet_build.server import HOST, EmbeddedServer, Ports
from eulernet_client.aio import AsyncClient
from eulernet_client.loadtest.plan import Mode, Plan
from eulernet_client.loadtest.target import Target
from eulernet_client.loadtest.traffic import Traffic
from numpy.typing import NDArray

from benchmarks.peers.body import HEADERS, pack
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Load, attacked
from benchmarks.peers.process import Tree, free_port, started
from benchmarks.peers.scoring import ClipScoring, Scoring, StreamScoring
from benchmarks.peers.stages import Counts, counters, difference
from benchmarks.peers.ways import Place, Running, Setting

READY_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 30.0


@dataclass
class Served:
    """A server that is up; see ways.Running.

    Attributes:
        traffic: the clips.
        connect: makes a target for so many calls at once.
        scoring: makes what tells scores.
        pid: of its topmost process.
        mode: how a clip is asked for.
        url: of ours, for its statistics.
    """

    traffic: Traffic
    connect: Callable[[int], Target]
    scoring: Callable[[], contextlib.AbstractAsyncContextManager[Scoring]]
    pid: int
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
        load = asyncio.run(attacked(plan, self.traffic, lambda: self.connect(plan.concurrency or 1), Tree(self.pid)))
        self.stages = difference(before, counters(self.url)) if self.url else {}
        return load


@contextlib.contextmanager
def python_server(place: Place, setting: Setting, module: str) -> Iterator[Running]:
    """One of this package's servers, ready when it has scored a clip."""
    from benchmarks.peers.http_target import HttpTarget

    port = free_port()
    arguments = ["--repository", str(place.repository), "--port", str(port), *setting.arguments()]
    with started(f"benchmarks.peers.{module}", arguments, place.logs / f"{module}.log") as child:
        (clip, *_) = place.traffic.clips()
        child.wait_until(lambda: _answers(port, clip), READY_TIMEOUT_S)
        yield Served(place.traffic, lambda calls: HttpTarget(port), lambda: HttpTarget(port), child.pid)
        child.check_running()


def fastapi(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (a)."""
    return python_server(place, setting, "fastapi_server")


def litserve(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (b)."""
    return python_server(place, setting, "litserve_server")


def _answers(port: int, jpegs: Sequence[bytes]) -> bool:
    """Whether a clip is scored; no while nobody listens. Raises: BenchError where the answer is an error."""
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
    """The embedded server, with the configuration that ships."""

    def client() -> AsyncClient:
        return AsyncClient(server.url, timeout_s=REQUEST_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def scoring() -> AsyncIterator[Scoring]:
        async with client() as connected:
            yield ClipScoring(connected) if mode is Mode.CLIPS else StreamScoring(connected)

    with EmbeddedServer(place.repository, Ports(0, 0, 0), place.logs / f"triton_{mode.value}.log") as server:
        server.wait_ready(READY_TIMEOUT_S)
        port = f"--grpc-port={server.ports.grpc}"
        (process,) = (each for each in psutil.Process().children() if port in each.cmdline())
        yield Served(place.traffic, lambda calls: Target(client, calls), scoring, process.pid, mode, server.url)
        server.check_running()


def clip_call(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (c)."""
    return triton(place, Mode.CLIPS)


def sequences(place: Place, setting: Setting) -> contextlib.AbstractContextManager[Running]:
    """Way (d)."""
    return triton(place, Mode.STREAMS)
