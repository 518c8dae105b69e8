# SPDX-License-Identifier: Apache-2.0
"""Processor time that the server spends on one request, sent alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from benchmarks.process_usage import Tree
from benchmarks.reliability.costly_pictures import costly_clips
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL, STATUS
from eulernet_serving.embedded_server import EmbeddedServer, Ports

READY_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 60.0
SETTLE_S = 0.3  # processor time is counted in steps of 10 ms, and late


@dataclass(frozen=True)
class Cost:
    """One request. `cpu_s`: of tritonserver and all stages; `status`: of the four frames."""

    name: str
    request_bytes: int
    cpu_s: float
    wall_s: float
    status: list[int]


def measure_costs(repository: Path, log: Path, save: Path) -> list[Cost]:
    """The cost of each costly clip, highest first. Saves the frames into the folder `save`.

    Raises: ServerError if the server does not start or ends.
    """
    save.mkdir(parents=True, exist_ok=True)
    with EmbeddedServer(repository, Ports(0, 0), log) as server:
        server.wait_ready(READY_TIMEOUT_S)
        costs = list(_costs(server, save))
        server.check_running()
    return sorted(costs, key=lambda cost: -cost.cpu_s)


def _costs(server: EmbeddedServer, save: Path) -> Iterator[Cost]:
    tree = Tree.of_server(server)
    with triton.InferenceServerClient(server.url, channel_args=[("grpc.enable_http_proxy", 0)]) as client:
        for number, (name, frames) in enumerate(costly_clips()):
            for t, frame in enumerate(dict.fromkeys(frames)):
                (save / f"{number:02d}_{t}.jpg").write_bytes(frame)
            inputs = []
            for tensor, frame in zip(CLIP_ENCODED, frames, strict=True):
                inputs.append(triton.InferInput(tensor, [1, len(frame)], "UINT8"))
                inputs[-1].set_data_from_numpy(np.frombuffer(frame, np.uint8)[None])
            before_s, begun_s = tree.cpu_s(), time.monotonic()
            answer = client.infer(CLIP_MODEL, inputs, client_timeout=REQUEST_TIMEOUT_S)
            wall_s = time.monotonic() - begun_s
            time.sleep(SETTLE_S)
            status = [int(each) for each in answer.as_numpy(STATUS).reshape(-1)]
            yield Cost(name, sum(map(len, frames)), round(tree.cpu_s() - before_s, 3), round(wall_s, 3), status)
