# SPDX-License-Identifier: Apache-2.0
"""Way (e): calls the stages in a separate process, without a server: the upper bound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.child_process import Child, started
from benchmarks.peers.errors import BenchError
from benchmarks.peers.load import Idle, Load, watched
from benchmarks.peers.triton_statistics import Counts
from benchmarks.peers.ways import Place, Running, Setting
from benchmarks.process_usage import Tree
from eulernet_loadtest.metrics import Metrics, Outcome, Sample, Window
from eulernet_loadtest.plan import Plan


class Bound:
    """The running process; see ways.Running. With N clips in progress each of W workers takes batches of N / W."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.stages: dict[str, Counts] = {}
        self.idle: Idle | None = None  # there is no server

    def wait_ready(self) -> None:
        """Waits until every worker has scored a clip. Raises: BenchError if the process ends before."""
        self._ask("ready", {})

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """See Running.scores."""
        return np.array(self._ask("scores", {}))

    def load(self, plan: Plan) -> Load:
        """See Running.load."""
        begin_s = time.monotonic() + plan.warm_up_s
        window = Window(begin_s, begin_s + plan.duration_s)

        async def measure() -> Load:
            arguments = {"end_s": window.end_s, "concurrency": plan.concurrency}
            working = asyncio.create_task(asyncio.to_thread(self._ask, "run", arguments))
            usage = await watched(Tree(self._child.pid), window)
            metrics = Metrics(plan, window)
            for batch in await working:
                for _ in range(batch["clips"]):
                    metrics.record(Sample(batch["begun_s"], batch["begun_s"], batch["done_s"], Outcome.OK))
            return Load.of(metrics, usage)

        return asyncio.run(measure())

    def _ask(self, command: str, arguments: dict[str, Any]) -> Any:
        process = self._child.process
        assert process.stdin is not None  # `started` opens both pipes
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({command: arguments}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended; the empty answer below shows it
        line = process.stdout.readline()
        if not line:
            process.wait()
            self._child.check_running()
            raise BenchError(f"in process: no answer to {command}")
        return json.loads(line)


@contextlib.contextmanager
def in_process(place: Place, setting: Setting) -> Iterator[Running]:
    """Way (e)."""
    arguments = ["--repository", str(place.repository), "--clips", str(place.clips), *setting.arguments()]
    with started("benchmarks.peers.in_process", arguments, place.logs / "in_process.log") as child:
        bound = Bound(child)
        bound.wait_ready()
        yield bound
        child.check_running()
