# SPDX-License-Identifier: Apache-2.0
"""Kills and stops each process of the supervised server, one after the other, beside good callers that retry."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pages import say
from benchmarks.reliability.fuzz_run import Fuzzer, neighbour_figures
from benchmarks.reliability.neighbours import Neighbours
from benchmarks.reliability.supervised_server import SUPERVISOR, SupervisedServer
from eulernet_core.tensors import STEP_NETWORK_MODEL
from eulernet_serving.process_watch import SERVER

PAUSE_S = 4.0  # of ordinary service between two faults
NO_LIMIT_S = 86_400.0


def faults_beside_callers(server: SupervisedServer, seed: int, out: Path) -> dict[str, Any]:
    """SIGKILL to each stage and to tritonserver, SIGSTOP to one stage. Returns what was seen, for JSON.

    Raises: NotServingError where the server does not come back.
    """
    stages = sorted(set(server.pids()) - {SUPERVISOR, SERVER})
    planned = [(name, signal.SIGKILL) for name in (*stages, SERVER)] + [(STEP_NETWORK_MODEL, signal.SIGSTOP)]
    done = []
    with Neighbours(server.endpoints.url, out / "neighbours_faults.jsonl", retry=True) as good:
        begun_s = time.monotonic()
        with garbage_beside(server, seed, out):
            for name, number in planned:
                ready_s = server.disturb(name, number)
                say(f"{number.name} to {name}: ready again after {ready_s:.1f} s")
                done.append({"process": name, "signal": number.name, "ready_after_s": round(ready_s, 1)})
                time.sleep(PAUSE_S)
        end_s = time.monotonic()
    return {"faults": done, "neighbours": neighbour_figures(good, {"faults": (begun_s, end_s)})}


@contextmanager
def garbage_beside(server: SupervisedServer, seed: int, out: Path, workers: int = 1) -> Iterator[Fuzzer]:
    """Sends inputs for as long as the block lasts; errors are expected here, and are not judged."""
    fuzzer = Fuzzer(server.endpoints, seed, [], out / "misbehaved", workers, judge=False)
    thread = threading.Thread(target=fuzzer.run, args=(iter(range(10**9)), NO_LIMIT_S))
    thread.start()
    try:
        yield fuzzer
    finally:
        fuzzer.stopped.set()
        thread.join()
