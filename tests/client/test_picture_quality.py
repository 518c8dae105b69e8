# SPDX-License-Identifier: Apache-2.0
"""The flags of picture quality from the real server: none for the demo clips, some for small or compressed ones."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.quality.degradations import decode, encode
from eulernet_client import Client
from eulernet_core.status import Status
from eulernet_serving.embedded_server import EmbeddedServer

pytestmark = pytest.mark.triton

QUALITY = Status.SMALL_FACE | Status.DEGRADED


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def flags(client: Client, path: Path) -> list[Status]:
    """The flags of picture quality of a clip's four frames, all of them scored."""
    frames = client.score(path).frames
    assert all(frame.status.usable for frame in frames)
    return [frame.status & QUALITY for frame in frames]


@pytest.mark.parametrize("name", ["bona_fide", "print", "replay", "moved_still"])
def test_demo_clips_have_no_flag(client: Client, demo_clips: Path, name: str) -> None:
    assert flags(client, demo_clips / f"{name}.mp4") == [Status.OK] * 4


@pytest.mark.parametrize(("name", "scale", "crf"), [("print", 0.2, 28), ("replay", 0.25, 33)])
def test_attacks_of_few_pixels_are_degraded(
    client: Client, demo_clips: Path, tmp_path: Path, name: str, scale: float, crf: int
) -> None:
    frames = decode((demo_clips / f"{name}.mp4").read_bytes())
    height, width = frames[0].shape[:2]
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(encode(frames, (int(width * scale), int(height * scale)), crf, 30))
    assert all(each & Status.DEGRADED for each in flags(client, changed))


def test_a_face_of_few_pixels_is_small(client: Client, moving_faces, tmp_path: Path) -> None:
    """The square around this face has less than 90 px."""
    for number, jpeg in enumerate(moving_faces(10, seed=1)):
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), cv2.resize(picture, None, fx=0.3, fy=0.3))
    assert all(each & Status.SMALL_FACE for each in flags(client, tmp_path))
