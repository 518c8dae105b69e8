# SPDX-License-Identifier: Apache-2.0
"""Mixed load with faults, sampled each second: what grows although it should not, and what is left in the end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.pages import say
from benchmarks.reliability.fault_run import garbage_beside
from benchmarks.reliability.fuzz_run import neighbour_figures
from benchmarks.reliability.jpeg_mutations import base_pictures
from benchmarks.reliability.neighbours import Neighbours
from benchmarks.reliability.resource_samples import SHARED_MEMORY, TEMPORARY_FILES, Sampler, growth
from benchmarks.reliability.supervised_server import SUPERVISOR, SupervisedServer
from benchmarks.reliability.wire import Wire, clip_request
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import CLIP_NETWORK_MODEL, STEP_NETWORK_MODEL
from eulernet_serving.backend_folder import backend_folders
from eulernet_serving.process_watch import SERVER

CLIENT = "client"
WORKERS = 2
# Shares of the run. Faults come early and late; between them the server and its stages run on and are compared.
EARLY_FAULTS = ((0.04, STEP_NETWORK_MODEL, signal.SIGKILL), (0.08, SERVER, signal.SIGKILL))
LATE_FAULTS = (
    (0.80, CLIP_NETWORK_MODEL, signal.SIGKILL),
    (0.84, STEP_NETWORK_MODEL, signal.SIGSTOP),
    (0.88, SERVER, signal.SIGKILL),
)
FIRST_WINDOW, BEFORE_LATE_FAULTS, LAST_WINDOW = (0.20, 0.30), (0.70, 0.80), (0.94, 1.00)
LARGE_AT = (0.12, 0.14, 0.16)  # Triton's shared memory grows with the largest requests, and keeps that size
LARGE_FRAME_BYTES, LARGE_AT_ONCE = 4 << 20, 8


def find_leaks(repository: Path, minutes: float, seed: int, out: Path) -> dict[str, Any]:
    """Runs the load. Returns what was seen, for JSON.

    Raises: NotServingError; ValueError where the run is too short for its windows.
    """
    whole_s = 60 * minutes
    folders = backend_folders()
    server = SupervisedServer(repository, out)
    with server:
        with Neighbours(server.endpoints.url, out / "neighbours_leaks.jsonl", retry=True, careless=True) as good:

            def processes() -> Mapping[str, psutil.Process]:
                return {**server.processes(), CLIENT: good.process}

            begun_s = time.monotonic()
            with (
                Sampler(processes, server.shared_memory, server.scratch) as sampler,
                garbage_beside(server, seed, out, WORKERS) as fuzzer,
            ):
                done = _scheduled(server, begun_s, whole_s)
            names = sorted(set(server.pids()) - {SUPERVISOR})
        figures = neighbour_figures(good, {"mixed": (begun_s, time.monotonic())})
        exit_status = server.stop()
        left = {
            "processes": server.survivors,
            "shared memory": [each.name for each in server.shared_memory()],
            "temporary files": [each.name for each in server.scratch.iterdir()],
            "Triton's folders": [each.name for each in backend_folders() - folders],
            "exit status": exit_status,
        }
    windows = {name: _seconds(window, whole_s) for name, window in _windows(names).items()}
    grown = [growth(sampler.samples, name, *pair) for name, pair in windows.items()]
    return {
        "minutes": minutes,
        "faults": done,
        "inputs": fuzzer.sent.count,
        "neighbours": figures,
        "growth": [asdict(each) for each in grown],
        "left": left,
        "samples": [{"at_s": round(at_s, 1), **values} for at_s, values in sampler.samples],
    }


def _windows(server_processes: list[str]) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """The two windows in which each value is compared: what lives on through the faults is compared over them too."""
    whole, run = (FIRST_WINDOW, LAST_WINDOW), (FIRST_WINDOW, BEFORE_LATE_FAULTS)
    kinds = ("memory", "descriptors", "threads")
    return {
        **{f"{name} {kind}": run for name in server_processes for kind in kinds},
        **{f"{name} {kind}": whole for name in (SUPERVISOR, CLIENT) for kind in kinds},
        SHARED_MEMORY: run,
        TEMPORARY_FILES: whole,
    }


def _seconds(
    windows: tuple[tuple[float, float], tuple[float, float]], whole_s: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = windows
    return (a * whole_s, b * whole_s), (c * whole_s, d * whole_s)


def _scheduled(server: SupervisedServer, begun_s: float, whole_s: float) -> list[dict[str, Any]]:
    """Faults and large requests, each at its time, until the end."""
    faults = [(at, name, number) for at, name, number in (*EARLY_FAULTS, *LATE_FAULTS)]
    done = []
    for at in sorted({*LARGE_AT, *(each[0] for each in faults)}):
        _until(begun_s + at * whole_s)
        if at in LARGE_AT:
            _large_requests(server)
        for _, name, number in (each for each in faults if each[0] == at):
            ready_s = server.disturb(name, number)
            say(f"{at:.0%}: {number.name} to {name}, ready again after {ready_s:.1f} s")
            done.append(
                {
                    "at_s": round(time.monotonic() - ready_s - begun_s, 1),
                    "process": name,
                    "signal": number.name,
                    "ready_after_s": round(ready_s, 1),
                }
            )
    _until(begun_s + whole_s)
    return done


def _until(when_s: float) -> None:
    time.sleep(max(0.0, when_s - time.monotonic()))


def _large_requests(server: SupervisedServer) -> None:
    frame = base_pictures()["baseline"] + bytes(LARGE_FRAME_BYTES)
    request = clip_request([frame] * CLIP_FRAMES)

    def send(_: int) -> None:
        with Wire(server.endpoints) as wire, contextlib.suppress(grpc.RpcError):
            wire.infer(request)

    with ThreadPoolExecutor(LARGE_AT_ONCE) as pool:
        list(pool.map(send, range(LARGE_AT_ONCE)))
