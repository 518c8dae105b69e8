# SPDX-License-Identifier: Apache-2.0
"""Faces are found, boxed and cropped for training as in the served stages."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from skimage import data

from eulernet.faces import FaceFinder, FaceModelsError, crop, geometry
from eulernet.faces.models import DETECTOR_NAME, MESH_NAME
from eulernet.labels.labels_picture import photographs, variants
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving import face_cropping, face_locating

Picture = NDArray[np.uint8]
SIZES = [(480, 640), (1920, 1080), (127, 129), (100, 100), (33, 900), (1, 1)]


@pytest.fixture(scope="module")
def finder(face_models: Path) -> FaceFinder:
    return FaceFinder(face_models)


@pytest.mark.parametrize("size", SIZES)
def test_letterbox_is_the_served_one(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ours, theirs = geometry.letterbox(picture), face_locating.letterbox(picture)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_settings_are_the_served_ones(finder: FaceFinder) -> None:
    assert finder.settings.min_score == face_locating.LocateSettings().min_score
    assert finder.settings.box_scale == face_locating.LocateSettings().box_scale


@pytest.mark.parametrize("name", list(variants()))
def test_found_box_is_the_served_one_but_for_the_thumbnail(name: str, finder: FaceFinder) -> None:
    """The server detects in a JPEG decoded at reduced size, training in the whole frame; boxes differ slightly."""
    picture = np.ascontiguousarray(variants()[name])

    def detect(images: Picture) -> Any:
        return finder._detector.run(["BOX", "SCORE", "SCORE"], {"IMAGE": images})

    jpeg = np.frombuffer(simplejpeg.encode_jpeg(picture, quality=95), np.uint8)
    locator = face_locating.Locator(face_locating.LocateSettings(), detect)
    (located,) = locator([jpeg], [face_locating.Lock()])
    face = finder.find(picture)
    assert face is not None
    side = face.box_px[2] - face.box_px[0]
    assert np.abs(face.box_px - located.box).max() <= max(2.0, 0.02 * side)


@pytest.mark.parametrize("name", ["astronaut", "grace hopper"])
@pytest.mark.parametrize("factor", [1, 2.3])
def test_crop_is_the_served_one(name: str, factor: float, finder: FaceFinder) -> None:
    picture = cv2.resize(photographs()[name], None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    jpeg = simplejpeg.encode_jpeg(picture, quality=98, colorsubsampling="444")
    decoded = simplejpeg.decode_jpeg(jpeg)
    face = finder.find(decoded)
    assert face is not None
    status = np.zeros(1, np.int32)
    theirs = face_cropping.Cropper(face_cropping.CropSettings())(
        [np.frombuffer(jpeg, np.uint8)], [face.box_px], status
    )[0]
    ours = crop(decoded, face.box_px, FACE_SIDE_PX)
    assert status[0] == 0
    # Two JPEG decoders; where it shrinks the face, the service takes a cheaper filter.
    difference = np.abs(ours.astype(int) - theirs)
    shrunk = face.box_px[2] - face.box_px[0] > FACE_SIDE_PX
    assert difference.max() <= (30 if shrunk else 2)
    assert difference.mean() < 1
    shifted = crop(decoded, face.box_px + 1, FACE_SIDE_PX)
    assert np.abs(shifted.astype(int) - theirs).max() > 20  # a shift of one pixel is detected


@pytest.mark.parametrize("angle_deg", [0, 20, -35])
def test_mesh_square_has_level_eyes_and_the_picture_s_pixels(angle_deg: float, finder: FaceFinder) -> None:
    picture = photographs()["astronaut"]
    matrix = cv2.getRotationMatrix2D((225, 130), angle_deg, 1.0)
    picture = cv2.warpAffine(picture, matrix, (512, 512))
    face = finder.find(picture)
    assert face is not None
    pixels, to_picture = geometry.mesh_square(picture, face.found_px, *face.keypoints_px[:2])
    assert pixels.shape == (geometry.MESH_SIDE_PX, geometry.MESH_SIDE_PX, 3)
    middle = to_picture[:, :2] @ [0.5, 0.5] + to_picture[:, 2]
    np.testing.assert_allclose(middle, (face.found_px[:2] + face.found_px[2:]) / 2, atol=1e-2)
    side = np.linalg.norm(to_picture[:, 0])
    assert side == pytest.approx(1.5 * max(face.found_px[2:] - face.found_px[:2]), rel=1e-4)
    inverse = np.linalg.inv(to_picture[:, :2])
    right, left = ((eye - to_picture[:, 2]) @ inverse.T for eye in face.keypoints_px[:2])
    assert right[1] == pytest.approx(left[1], abs=1e-4)
    assert right[0] < left[0]
    # A pixel of the square is the picture's at the mapped place.
    for row, column in ((60, 60), (96, 96), (120, 80)):
        x, y = to_picture[:, :2] @ ((np.array([column, row]) + 0.5) / geometry.MESH_SIDE_PX) + to_picture[:, 2] - 0.5
        expected = cv2.getRectSubPix(picture, (1, 1), (float(x), float(y)))[0, 0]
        assert np.abs(pixels[row, column].astype(int) - expected).max() <= 4


def test_landmarks_lie_on_the_face(finder: FaceFinder) -> None:
    picture = photographs()["astronaut"]
    face = finder.find(picture)
    assert face is not None
    points = finder.landmarks(picture, face)
    assert points is not None
    assert points.shape == (468, 3)
    assert points.dtype == np.float32
    for index, place in {33: (194, 101), 263: (257, 105), 152: (223, 177)}.items():  # outer eye corners, chin
        assert np.abs(points[index, :2] - place).max() < 4
    assert points[1, 2] < -15  # nose: towards the camera, in px
    assert points[[234, 454], 2].min() > 25  # ears


def test_landmarks_grow_with_the_picture(finder: FaceFinder) -> None:
    picture = photographs()["astronaut"]
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    pairs = []
    for shown in (picture, large):
        face = finder.find(shown)
        assert face is not None
        pairs.append(finder.landmarks(shown, face))
    assert np.abs(pairs[0] * 2 - pairs[1]).max() < 8


def test_no_face(finder: FaceFinder) -> None:
    assert finder.find(data.coffee()) is None
    assert finder.find(np.zeros((1, 1, 3), np.uint8)) is None


def test_mesh_sees_no_face_where_there_is_none(finder: FaceFinder) -> None:
    face = finder.find(photographs()["astronaut"])
    assert face is not None
    assert finder.landmarks(np.ascontiguousarray(data.coffee()), face) is None


@pytest.mark.parametrize("name", [DETECTOR_NAME, MESH_NAME])
def test_missing_model_names_the_remedy(name: str, face_models: Path, tmp_path: Path) -> None:
    for other in {DETECTOR_NAME, MESH_NAME} - {name}:
        (tmp_path / other).write_bytes((face_models / other).read_bytes())
    with pytest.raises(FaceModelsError, match=f"{name}: .*eulernet face-models --out {tmp_path}"):
        FaceFinder(tmp_path)


def test_damaged_model_names_the_remedy(face_models: Path, tmp_path: Path) -> None:
    (tmp_path / DETECTOR_NAME).write_bytes((face_models / DETECTOR_NAME).read_bytes()[:1000])
    with pytest.raises(FaceModelsError, match=f"{DETECTOR_NAME}: .*`eulernet face-models"):
        FaceFinder(tmp_path)


def test_exchanged_models_are_refused(face_models: Path, tmp_path: Path) -> None:
    (tmp_path / DETECTOR_NAME).write_bytes((face_models / MESH_NAME).read_bytes())
    with pytest.raises(FaceModelsError, match=f"{DETECTOR_NAME}: .*LANDMARKS"):
        FaceFinder(tmp_path)
