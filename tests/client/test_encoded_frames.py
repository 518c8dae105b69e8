# SPDX-License-Identifier: Apache-2.0
"""Frames as callers give them: byte arrays of every kind score alike; pictures, paths and large frames are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from eulernet_client import AsyncClient, Client, errors
from eulernet_client._encoded_frames import encoded_frame, encoded_frames
from eulernet_client.batch import Settings, score_batch
from eulernet_core.clip_geometry import clip_indices, clip_starts

NOWHERE = "127.0.0.1:9"  # the discard port: closed
PICTURE = np.zeros((48, 64, 3), np.uint8)
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()

FORMS: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "array (n,)": lambda jpeg: np.frombuffer(jpeg, np.uint8),
    "array (n, 1)": lambda jpeg: np.frombuffer(jpeg, np.uint8)[:, None],
    "array (1, n)": lambda jpeg: np.frombuffer(jpeg, np.uint8)[None],
    "strided array": lambda jpeg: np.repeat(np.frombuffer(jpeg, np.uint8), 2)[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_bytes_is_taken(form: str) -> None:
    assert encoded_frame(FORMS[form](JPEG)) == JPEG


def test_what_may_change_is_copied() -> None:
    given = bytearray(JPEG)
    taken = encoded_frame(given)
    given[0] = 0
    assert taken == JPEG


REFUSED = {
    "picture": (PICTURE, r"\(48, 64, 3\).*encode_jpeg.*imencode"),
    "grey picture": (PICTURE[..., 0], r"\(48, 64\).*encode_jpeg"),
    "floats": (np.zeros(9, np.float32), "float32.*encode_jpeg"),
    "Pillow picture": (Image.new("RGB", (4, 4)), "Image.*encode_jpeg"),
    "imencode's pair": (cv2.imencode(".jpg", PICTURE), "tuple.*imencode"),
    "path": (Path("a.jpg"), r"path.*client.score\(path\)"),
    "text": ("a.jpg", r"path.*client.score\(path\)"),
    "None": (None, "None; give the bytes"),
    "generator": ((each for each in JPEG), "generator; give the bytes"),
    "number": (5, "int; give the bytes"),
    "file": (io.BytesIO(JPEG), "BytesIO; give the bytes"),
    "memoryview of floats": (memoryview(np.zeros(4, np.float32)), "memoryview; give the bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_jpeg_is_refused_with_what_to_pass(case: str) -> None:
    value, says = REFUSED[case]
    with Client(NOWHERE) as client, client.stream() as stream:
        with pytest.raises(TypeError, match=f"frame: .*{says}"):
            stream.score(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"frame 2: .*{says}"):
            client.score_frames([JPEG, JPEG, value, JPEG])  # type: ignore[list-item]
    async with AsyncClient(NOWHERE) as other, other.stream() as streams:
        with pytest.raises(TypeError, match=f"frame: .*{says}"):
            await streams.score(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"frame 0: .*{says}"):
            await other.score_frames([value] * 4)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (JPEG, "bytes; give a list"),
        ("a.mp4", r"str; .*client.score\(path\)"),
        (Path("a.mp4"), r"Path; .*client.score\(path\)"),
        ((JPEG for _ in range(4)), "generator; give a list"),
        (None, "None; give a list"),
        (np.zeros((4, 48, 64, 3), np.uint8), r"\(4, 48, 64, 3\).*list.*imencode"),
    ],
)
def test_clips_are_lists_of_jpegs(value: object, says: str) -> None:
    with pytest.raises(TypeError, match=f"jpegs: .*{says}"):
        encoded_frames(value)


def test_a_clip_has_four_frames() -> None:
    with Client(NOWHERE) as client, pytest.raises(ValueError, match="3 frames: "):
        client.score_frames([JPEG] * 3)


@pytest.mark.parametrize("size_mb", [0, -1, float("nan"), float("inf"), 2048])
def test_the_limit_of_a_frame_is_a_sensible_number(size_mb: float) -> None:
    with pytest.raises(ValueError, match="max_frame_mb=.*2047"):
        Client(NOWHERE, max_frame_mb=size_mb)


def padded(jpeg: bytes, size: int) -> bytes:
    """A JPEG with bytes after its end, which decoders ignore."""
    return jpeg + bytes(size - len(jpeg))


def test_frames_over_the_limit_are_not_sent() -> None:
    large = padded(JPEG, (16 << 20) + 1)
    with Client(NOWHERE, timeout_s=20, retry=False) as client:
        with pytest.raises(errors.TooLargeError, match=r"clip: frame 1: .*16\.0 MB.*16 MB.*max_frame_mb") as raised:
            client.score_frames([JPEG, large, JPEG, JPEG])
        assert (raised.value.path, raised.value.index) == ("clip", 1)
        with pytest.raises(errors.ServerUnavailableError):
            client.score_frames([JPEG, large[:-1], JPEG, JPEG])
    with (
        Client(NOWHERE, timeout_s=20, retry=False, max_frame_mb=17) as client,
        pytest.raises(errors.ServerUnavailableError),
    ):
        client.score_frames([large] * 4)


@pytest.mark.triton
def test_every_form_of_bytes_has_the_same_score(server, moving_faces) -> None:
    frames = moving_faces(4, 3)
    with Client(server.url) as client:
        expected = client.score_frames(frames).liveness
        for form in FORMS.values():
            assert client.score_frames([form(jpeg) for jpeg in frames]).liveness == expected  # type: ignore[misc]
            with client.stream() as stream:
                scores = [stream.score(form(jpeg)).liveness for jpeg in frames]  # type: ignore[arg-type]
            assert scores[-1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.triton
async def test_a_large_frame_leaves_its_stream_as_it_was(server, moving_faces) -> None:
    frames = moving_faces(4, 3)
    most_mb = 2 * max(map(len, frames)) / (1 << 20)
    large = padded(frames[0], 3 * max(map(len, frames)))
    with Client(server.url, max_frame_mb=most_mb) as client:
        expected = client.score_frames(frames).liveness
        with client.stream() as stream:
            for number, jpeg in enumerate(frames):
                with pytest.raises(errors.TooLargeError, match=f"stream {stream.sequence_id}: frame {number}: "):
                    stream.score(large)
                frame = stream.score(jpeg)
            assert (frame.index, frame.frame_count) == (3, 4)
            assert frame.liveness == pytest.approx(expected, abs=1e-5)
    async with AsyncClient(server.url, max_frame_mb=most_mb) as other, other.stream() as streams:
        for jpeg in frames:
            with pytest.raises(errors.TooLargeError):
                await streams.score(large)
            frame = await streams.score(jpeg)
        assert frame.liveness == pytest.approx(expected, abs=1e-5)


@pytest.mark.triton
async def test_a_large_frame_costs_its_clip_only(server, moving_faces, tmp_path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = moving_faces(40, 3)
    for number, jpeg in enumerate(frames):
        (folder / f"{number}.jpg").write_bytes(jpeg)
    most_mb = 2 * max(map(len, frames)) / (1 << 20)
    large = clip_indices(clip_starts(len(frames), 3)[0])[1]
    (folder / f"{large}.jpg").write_bytes(padded(frames[0], 3 * max(map(len, frames))))
    with Client(server.url, max_frame_mb=most_mb) as client:
        result = client.score(folder, clips=3)
        assert {frame.clip for frame in result.frames} == {1, 2}
        assert "1 of 3 clips not scored" in result.warnings[0]
        assert f"frame {large} ({large}.jpg): a JPEG of " in result.warnings[0]
    async with AsyncClient(server.url, max_frame_mb=most_mb) as other:
        summary = await score_batch(other, [folder], tmp_path / "t.jsonl", Settings(clips=3))
    (row,) = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert (row["liveness"], row["warnings"]) == (pytest.approx(result.liveness, abs=1e-5), list(result.warnings))
    assert "TOO_LARGE" in row["status"].split("|")
    assert (summary.not_scored, row["frames"]) == (0, 8)
