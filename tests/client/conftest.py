# SPDX-License-Identifier: Apache-2.0
"""Numbered media, archives of moving faces, servers behind relays, and responses as Triton sends them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferResult, service_pb2

from eulernet_client import Client, FrameResult
from eulernet_client.sources import find_sources
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.client.tcp_relay import Relay
from tests.conftest import READY_TIMEOUT_S
from tests.numbered_media import numbered_picture, read_number, write_folder, write_video


def answer(
    liveness: list[float],
    status: list[int],
    counts: list[int],
    *,
    stream: bool = False,
    maps: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
    leave_out: str = "",
) -> InferResult:
    """The protobuf message that the server sends for one clip, or for one frame of a stream."""
    t = len(liveness)
    frame, scalar = ((1,), (1, 1)) if stream else ((1, t), (1, t))
    maps = np.linspace(0, 1, t * 1024, dtype=np.float32) if maps is None else maps
    boxes = np.tile(np.float32([40, 30, 200, 190]), t) if boxes is None else boxes
    outputs: dict[str, tuple[np.ndarray, str]] = {
        "LIVENESS": (np.float32(liveness).reshape(scalar), "FP32"),
        "LOCATION_MAP": (maps.reshape(*frame, 32, 32), "FP32"),
        "FACE_BOX": (boxes.reshape(*frame, 4), "FP32"),
        "FRAME_COUNT": (np.int32(counts).reshape(scalar), "INT32"),
        "STATUS": (np.int32(status).reshape(scalar), "INT32"),
    }
    response = service_pb2.ModelInferResponse(model_name="antispoof" if stream else "antispoof_clip")
    for name, (array, datatype) in outputs.items():
        if name != leave_out:
            response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
    return InferResult(response)


@pytest.fixture
def archive(tmp_path: Path, moving_faces: Callable[..., list[bytes]]) -> Callable[[int], list[Path]]:
    """`archive(n)`: n folders of ten JPEGs, quick to read."""

    def fill(count: int) -> list[Path]:
        jpegs = moving_faces(10, 3)
        for number in range(count):
            folder = tmp_path / "archive" / f"clip{number:02}"
            folder.mkdir(parents=True)
            for t, jpeg in enumerate(jpegs):
                (folder / f"{t}.jpg").write_bytes(jpeg)
        return find_sources(tmp_path / "archive")

    return fill


@pytest.fixture(scope="module")
def single_frame_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server whose streams take one frame a request, as that with TensorRT's backend."""
    folder = tmp_path_factory.mktemp("single_frames")
    copy = shutil.copytree(repository, folder / "model_repository")
    for model in ("antispoof", "face_crop"):
        path = copy / model / "configs" / "cpu.pbtxt"
        text = re.sub(r",\n.*FRAME_BYTES.*optional.*", "", path.read_text())
        path.write_text(re.sub(r".*input_map.*FRAME_BYTES.*\n", "", text))
        assert "FRAME_BYTES" not in re.sub("#.*", "", path.read_text())
    with EmbeddedServer(copy, Ports(0, 0), folder / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield running
        running.check_running()
        running.kill()


@pytest.fixture
def relays(server: EmbeddedServer) -> Iterator[Callable[[int], list[Relay]]]:
    """`relays(n)`: n relays to the real server, which count for the client as n servers."""
    opened: list[Relay] = []

    def open_relays(count: int) -> list[Relay]:
        opened.extend(Relay(server.url) for _ in range(count))
        return opened

    yield open_relays
    for relay in opened:
        relay.close()


@pytest.fixture(scope="session")
def undisturbed(server: EmbeddedServer) -> Callable[[list[bytes]], list[FrameResult]]:
    """`undisturbed(frames)`: the results of a stream that nothing happens to."""

    def play(frames: list[bytes]) -> list[FrameResult]:
        with Client(server.url) as client, client.stream(replay_mb=0) as stream:
            return [stream.score(frame) for frame in frames]

    return play


@pytest.fixture
def make() -> Any:
    """Functions that make media and responses."""

    class Make:
        video = staticmethod(write_video)
        folder = staticmethod(write_folder)
        picture = staticmethod(numbered_picture)
        number = staticmethod(read_number)
        answer = staticmethod(answer)

    return Make
