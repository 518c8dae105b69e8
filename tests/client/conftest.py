"""Videos and folders whose every picture tells its own frame number, and answers as Triton sends them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from eulernet_client._media import find_sources
from tritonclient.grpc import InferResult, service_pb2

BITS = 10  # black and white bars, lowest bit first


def numbered_picture(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """uint8 (height, width, 3): `number` as a bar code, readable after any lossy codec."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[:, bit * width // BITS : (bit + 1) * width // BITS] = 255
    return picture


def read_number(jpeg: bytes) -> int:
    """The number in a picture of `numbered_picture`."""
    grey = simplejpeg.decode_jpeg(jpeg, colorspace="GRAY")[..., 0]
    width = grey.shape[1]
    bars = (grey[:, bit * width // BITS + 4 : (bit + 1) * width // BITS - 4].mean() for bit in range(BITS))
    return sum((bar > 128) << bit for bit, bar in enumerate(bars))


def write_video(
    path: Path,
    frames: int,
    codec: str = "libx264",
    *,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    picture: Callable[[int], np.ndarray] = numbered_picture,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(folder: Path, names: list[str]) -> Path:
    """JPEGs whose pictures tell their place in `names`."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        jpeg = simplejpeg.encode_jpeg(numbered_picture(number), quality=80, colorspace="RGB")
        (folder / name).write_bytes(jpeg)
    return folder


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
    """`archive(n)`: n folders of ten JPEGs, cheap to read."""

    def fill(count: int) -> list[Path]:
        jpegs = moving_faces(10, 3)
        for number in range(count):
            folder = tmp_path / "archive" / f"clip{number:02}"
            folder.mkdir(parents=True)
            for t, jpeg in enumerate(jpegs):
                (folder / f"{t}.jpg").write_bytes(jpeg)
        return find_sources(tmp_path / "archive")

    return fill


@pytest.fixture
def make() -> Any:
    """The functions above; test modules import nothing from each other."""

    class Make:
        video = staticmethod(write_video)
        folder = staticmethod(write_folder)
        picture = staticmethod(numbered_picture)
        number = staticmethod(read_number)
        answer = staticmethod(answer)

    return Make
