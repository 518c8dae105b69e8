# SPDX-License-Identifier: Apache-2.0
"""The face models on real photographs: faces found where they are, none where there are none.

True boxes (brow to chin, cheek to cheek) and points were read off the photographs by eye.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from matplotlib import cbook
from numpy.typing import NDArray
from skimage import data

from eulernet.faces.geometry import mesh_square
from eulernet_core.face_box import MIN_SCORE
from eulernet_serving.face_models import converted as models
from eulernet_serving.face_models import mesh_graph as mesh

Picture = NDArray[np.uint8]
Detect = Callable[[Picture], tuple[NDArray[np.float32], NDArray[np.float32], float, float]]
# Right eye, left eye, nose tip, mouth.
ASTRONAUT_BOX = np.array([178.0, 86.0, 270.0, 178.0])
ASTRONAUT_POINTS = np.array([[203, 101], [247, 104], [223, 127], [223, 145]])
HOPPER_BOX = np.array([180.0, 172.0, 345.0, 337.0])
HOPPER_POINTS = np.array([[224, 190], [305, 187], [266, 228], [266, 277]])
# What mediapipe 0.10.21 (FaceDetection, model_selection=0) answers: x, y, width, height relative to the picture, score.
MEDIAPIPE_ASTRONAUT = (0.34681, 0.16186, 0.18622, 0.18622, 0.92174)
MEDIAPIPE_HOPPER = (0.33467, 0.24486, 0.37986, 0.32413, 0.93536)
FACE_CENTRE = (ASTRONAUT_BOX[:2] + ASTRONAUT_BOX[2:]) / 2


def hopper() -> Picture:
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def colour(picture: Picture) -> Picture:
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else np.ascontiguousarray(picture[..., :3])


def iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def on_canvas(share: float) -> tuple[Picture, NDArray[np.float64]]:
    """The astronaut's head on a brick wall, 640x480, the face `share` of the frame's width; and its true box."""
    frame = cv2.resize(colour(data.brick()), (640, 480))
    scale = share * 640 / (ASTRONAUT_BOX[2] - ASTRONAUT_BOX[0])
    move = np.array([320, 240]) - scale * FACE_CENTRE
    matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
    blurred = cv2.GaussianBlur(data.astronaut(), (0, 0), 0.4 / scale) if scale < 1 else data.astronaut()
    cv2.warpAffine(blurred[20:210, 130:310], matrix_from(matrix, 130, 20), (640, 480), frame, cv2.INTER_LINEAR,
                   cv2.BORDER_TRANSPARENT)  # fmt: skip
    return frame, ASTRONAUT_BOX * scale + np.tile(move, 2)


def matrix_from(matrix: NDArray[np.float64], left: int, top: int) -> NDArray[np.float64]:
    """The affine map for a picture whose first pixel was at (left, top)."""
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ [left, top]
    return moved


@pytest.mark.parametrize(
    ("picture", "box", "points"),
    [(data.astronaut(), ASTRONAUT_BOX, ASTRONAUT_POINTS), (hopper(), HOPPER_BOX, HOPPER_POINTS)],
    ids=["astronaut", "hopper"],
)
def test_portraits(detect: Detect, picture: Picture, box: NDArray[Any], points: NDArray[Any]) -> None:
    got_box, keypoints, score, second = detect(picture)
    assert score > 0.9
    assert second < MIN_SCORE
    assert iou(got_box, box) > 0.65
    assert np.abs(keypoints[:4] - points).max() < 0.08 * (box[2] - box[0])


@pytest.mark.parametrize(
    ("picture", "expected"),
    [(data.astronaut(), MEDIAPIPE_ASTRONAUT), (hopper(), MEDIAPIPE_HOPPER)],
    ids=["astronaut", "hopper"],
)
def test_the_same_face_as_mediapipe(face_models: Path, picture: Picture, expected: tuple[float, ...]) -> None:
    """With MediaPipe's own shrinking (bilinear, corner to corner) the numbers are MediaPipe's."""
    height, width = picture.shape[:2]
    side = max(height, width)
    corner = np.array([width - side, height - side]) / 2
    matrix = np.array([[side / 128, 0, corner[0]], [0, side / 128, corner[1]]])
    square = cv2.warpAffine(picture, matrix, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    session = onnxruntime.InferenceSession(face_models / models.DETECTOR_NAME, providers=["CPUExecutionProvider"])
    box, score = session.run(["BOX", "SCORE"], {"IMAGE": square[None]})
    low, high = (box.reshape(2, 2) * side + corner) / [width, height]
    np.testing.assert_allclose([*low, *(high - low), score.item()], expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("scale", [0.75, 0.5, 0.25])
def test_shrunk(detect: Detect, scale: float) -> None:
    picture = cv2.resize(data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    box, _, score, _ = detect(picture)
    assert score > 0.9
    assert iou(box, ASTRONAUT_BOX * scale) > 0.85


@pytest.mark.parametrize("angle_deg", [-30, -15, 15, 30])
def test_turned(detect: Detect, angle_deg: int) -> None:
    matrix = cv2.getRotationMatrix2D(FACE_CENTRE.tolist(), angle_deg, 1.0)
    picture = cv2.warpAffine(data.astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    box, keypoints, score, _ = detect(picture)
    assert score > 0.9
    assert iou(box, ASTRONAUT_BOX) > 0.7
    expected = ASTRONAUT_POINTS @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(keypoints[:4] - expected).max() < 0.12 * 92


def test_mirrored(detect: Detect) -> None:
    box, keypoints, score, _ = detect(np.ascontiguousarray(data.astronaut()[:, ::-1]))
    expected = np.array([512 - ASTRONAUT_BOX[2], ASTRONAUT_BOX[1], 512 - ASTRONAUT_BOX[0], ASTRONAUT_BOX[3]])
    assert score > 0.9
    assert iou(box, expected) > 0.85
    assert keypoints[0, 0] < keypoints[1, 0]  # the right eye is the one on the picture's left, in a mirror too


@pytest.mark.parametrize(
    ("gain", "least_score"), [(0.1, 0.7), (0.2, 0.8), (0.5, 0.85), (1.3, 0.85), (1.6, 0.7), (2.0, MIN_SCORE)]
)
def test_dark_and_bright(detect: Detect, gain: float, least_score: float) -> None:
    box, _, score, _ = detect(np.clip(data.astronaut() * gain, 0, 255).astype(np.uint8))
    assert score > least_score
    assert iou(box, ASTRONAUT_BOX) > 0.75


def test_grey(detect: Detect) -> None:
    box, _, score, _ = detect(colour(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)))
    assert score > 0.75
    assert iou(box, ASTRONAUT_BOX) > 0.75


@pytest.mark.parametrize("share", [0.15, 0.2, 0.3, 0.4, 0.5])
def test_share_of_the_frame(detect: Detect, share: float) -> None:
    picture, expected = on_canvas(share)
    box, _, score, second = detect(picture)
    assert score > 0.8
    assert second < MIN_SCORE
    assert iou(box, expected) > 0.7


@pytest.mark.parametrize("share", [0.04, 0.06, 0.08])
def test_too_small_a_face_scores_low(detect: Detect, share: float) -> None:
    assert detect(on_canvas(share)[0])[2] < MIN_SCORE


@pytest.mark.parametrize(
    "name", ["coffee", "brick", "chelsea", "rocket", "coins", "grass", "gravel", "moon", "page", "retina"]
)
def test_no_face(detect: Detect, name: str) -> None:
    _, _, score, second = detect(colour(getattr(data, name)()))
    assert second <= score < MIN_SCORE


def test_two_faces(detect: Detect) -> None:
    astronaut = data.astronaut()[:256, 96:352]
    pair = np.concatenate([astronaut, cv2.resize(hopper()[90:410, 100:430], (256, 256))], axis=1)
    _, _, score, second = detect(pair)
    assert score > 0.9
    assert second > 0.9
    assert detect(astronaut)[3] < 0.3


@pytest.fixture(scope="module")
def find_mesh(face_models: Path, detect: Detect) -> Callable[[Picture], tuple[NDArray[Any], NDArray[Any], float]]:
    """Function: picture -> landmarks (468, 2) px, z (468,), presence."""
    session = onnxruntime.InferenceSession(face_models / models.MESH_NAME, providers=["CPUExecutionProvider"])

    def run(picture: Picture) -> tuple[NDArray[Any], NDArray[Any], float]:
        box, keypoints, _, _ = detect(picture)
        pixels, to_picture = mesh_square(picture, box, *keypoints[:2])
        landmarks, presence = session.run(None, {"FACE": pixels[None]})
        points = landmarks[0, :, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        return points, landmarks[0, :, 2], presence.item()

    return run


FindMesh = Callable[[Picture], tuple[NDArray[Any], NDArray[Any], float]]


@pytest.mark.parametrize("picture", [data.astronaut(), hopper()], ids=["astronaut", "hopper"])
@pytest.mark.parametrize("angle_deg", [-20, 0, 20])
def test_mesh_lies_on_the_face(find_mesh: FindMesh, picture: Picture, angle_deg: int) -> None:
    matrix = cv2.getRotationMatrix2D((230, 180), angle_deg, 1.0)
    size = picture.shape[1], picture.shape[0]
    turned = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    points, z, presence = find_mesh(turned)
    assert presence > 0.95
    upright = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    eyes = (upright[mesh.RIGHT_EYE_OUTER] + upright[mesh.LEFT_EYE_OUTER]) / 2
    assert upright[mesh.RIGHT_EYE_OUTER, 0] < upright[mesh.NOSE_TIP, 0] < upright[mesh.LEFT_EYE_OUTER, 0]
    assert eyes[1] < upright[mesh.NOSE_TIP, 1] < upright[mesh.UPPER_LIP, 1] < upright[mesh.CHIN, 1]
    assert z[mesh.NOSE_TIP] < -0.1  # towards the camera
    assert min(z[mesh.RIGHT_EAR], z[mesh.LEFT_EAR]) > 0.2


def test_mesh_of_the_astronaut_is_where_the_eye_sees_it(find_mesh: FindMesh) -> None:
    points, _, _ = find_mesh(data.astronaut())
    expected = {mesh.RIGHT_EYE_OUTER: (194, 101), mesh.LEFT_EYE_OUTER: (257, 105), mesh.CHIN: (223, 177)}
    for index, place in expected.items():
        assert np.abs(points[index] - place).max() < 4


def test_mesh_of_the_mirrored_face_is_mirrored(find_mesh: FindMesh) -> None:
    plain, _, _ = find_mesh(data.astronaut())
    mirrored, _, _ = find_mesh(np.ascontiguousarray(data.astronaut()[:, ::-1]))
    pairs = [(33, 263), (133, 362), (234, 454), (61, 291), (1, 1), (13, 13), (152, 152)]  # MediaPipe's left and right
    for here, there in pairs:
        x, y = mirrored[there]
        assert np.abs(plain[here] - (512 - x, y)).max() < 4


@pytest.mark.parametrize("name", ["coffee", "brick", "chelsea"])
def test_presence_is_low_without_a_face(face_models: Path, name: str) -> None:
    session = onnxruntime.InferenceSession(face_models / models.MESH_NAME, providers=["CPUExecutionProvider"])
    square = cv2.resize(colour(getattr(data, name)()), (mesh.SIDE_PX, mesh.SIDE_PX), interpolation=cv2.INTER_AREA)
    assert session.run(["PRESENCE"], {"FACE": square[None]})[0].item() < 0.5
