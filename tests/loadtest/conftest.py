# SPDX-License-Identifier: Apache-2.0
"""Traffic of a drifting face, clients that don't retry, and run times that suit the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eulernet_client import AsyncClient, Client
from eulernet_loadtest.runner import Runner
from eulernet_loadtest.traffic import load
from eulernet_serving.embedded_server import EmbeddedServer

TIMEOUT_S = 100.0


@pytest.fixture(scope="session")
def timeout_s() -> float:
    """For one request of a test, on a busy machine."""
    return TIMEOUT_S


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, moving_faces: Callable[[int, int], list[bytes]]) -> Path:
    """A folder of 39 JPEGs of a drifting face: a stream of 13 frames, or 3 clips with one frame left over."""
    folder = tmp_path_factory.mktemp("faces")
    for number, jpeg in enumerate(moving_faces(39, 3)):
        (folder / f"{number:02}.jpg").write_bytes(jpeg)
    return folder


@pytest.fixture(scope="session")
def runner(server: EmbeddedServer, faces: Path) -> Runner:
    """Sends the faces to the real server."""
    return Runner(lambda: AsyncClient(server.url, timeout_s=TIMEOUT_S, retry=False), load([faces]), TIMEOUT_S)


@pytest.fixture(scope="session")
def clip_s(server: EmbeddedServer, faces: Path) -> float:
    """Median time of three clip calls, in s, at the machine's present load."""
    (clip, *_) = load([faces]).clips()
    with Client(server.url, timeout_s=TIMEOUT_S) as client:
        times_s = [client.score_frames(clip).latency_s for _ in range(3)]
    return sorted(times_s)[1]
