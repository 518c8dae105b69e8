"""Faces are found, boxed and cropped for training as the served stages do it."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from eulernet.faces import FaceFinder, FaceModelsError, crop, geometry
from eulernet.faces.models import DETECTOR_NAME, MESH_NAME
from eulernet.labels.picture import photographs, variants
from eulernet_build.face_models import geometry as built
from eulernet_build.face_models.fetch import FetchError
from eulernet_build.face_models.models import make_face_models
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

ROOT = Path(__file__).parents[2]
for stage in ("face_locate", "face_crop"):
    sys.path.append(str(ROOT / "model_repository" / stage / "1"))

# The modules that Triton loads, imported as it does.
import crop as served_crop  # noqa: E402
import locate as served  # noqa: E402
from jpeg import Header  # noqa: E402

Picture = NDArray[np.uint8]
SIZES = [(480, 640), (1920, 1080), (127, 129), (100, 100), (33, 900), (1, 1)]


@pytest.fixture(scope="module")
def models() -> Path:
    folder = ROOT / "out" / "face_models"
    try:
        make_face_models(folder)
    except FetchError as error:
        pytest.skip(f"no face models: {error}")
    return folder


@pytest.fixture(scope="module")
def finder(models: Path) -> FaceFinder:
    return FaceFinder(models)


@pytest.mark.parametrize("size", SIZES)
def test_letterbox_is_the_served_one(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ours, theirs = geometry.letterbox(picture), served.letterbox(picture)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


@settings(max_examples=300, deadline=None)
@given(
    box=st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4).map(lambda values: np.array(values, np.float32)),
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    scale=st.floats(0.5, 3),
)
def test_box_is_the_served_one(box: NDArray[np.float32], size: tuple[int, int], scale: float) -> None:
    square = served.letterbox(np.zeros((60, 80, 3), np.uint8))[1]
    np.testing.assert_array_equal(
        geometry.unletterbox(box.reshape(2, 2), square).reshape(4), served.unletterbox(box, square)
    )
    np.testing.assert_array_equal(
        geometry.square_box(box, *size, scale), served.square_box(box, Header(0, *size), scale)
    )


def test_settings_are_the_served_ones(finder: FaceFinder) -> None:
    assert finder.settings.min_score == served.Settings().min_score
    assert finder.settings.box_scale == served.Settings().box_scale


@pytest.mark.parametrize("name", list(variants()))
def test_found_box_is_the_served_one_but_for_the_thumbnail(name: str, finder: FaceFinder) -> None:
    """The server looks at a JPEG decoded at a fraction of its size, training at the whole frame: a few pixels."""
    picture = np.ascontiguousarray(variants()[name])

    def detect(images: Picture) -> Any:
        return finder._detector.run(["BOX", "SCORE", "SCORE"], {"IMAGE": images})

    jpeg = np.frombuffer(simplejpeg.encode_jpeg(picture, quality=95), np.uint8)
    (located,) = served.Locator(served.Settings(), detect)([jpeg], [served.Lock()])
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
    theirs = served_crop.Cropper(served_crop.CropSettings())([np.frombuffer(jpeg, np.uint8)], [face.box_px], status)[0]
    ours = crop(decoded, face.box_px, served_crop.FACE_SIDE_PX)
    assert status[0] == 0
    # Two JPEG decoders, one resize.
    assert np.abs(ours.astype(int) - theirs).max() <= 2
    shifted = crop(decoded, face.box_px + 1, served_crop.FACE_SIDE_PX)
    assert np.abs(shifted.astype(int) - theirs).max() > 20  # one pixel off would be seen


@pytest.mark.parametrize("angle_deg", [0, 20])
def test_mesh_square_is_that_of_the_face_models(angle_deg: float, finder: FaceFinder) -> None:
    picture = photographs()["astronaut"]
    matrix = cv2.getRotationMatrix2D((225, 130), angle_deg, 1.0)
    picture = cv2.warpAffine(picture, matrix, (512, 512))
    face = finder.find(picture)
    assert face is not None
    pixels, to_picture = geometry.mesh_square(picture, face.found_px, *face.keypoints_px[:2])
    expected = built.mesh_square(picture, face.found_px, face.keypoints_px)
    np.testing.assert_allclose(to_picture, expected.to_picture, rtol=1e-5, atol=1e-3)
    assert np.abs(pixels.astype(int) - expected.pixels).mean() < 0.05


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
def test_missing_model_names_the_remedy(name: str, models: Path, tmp_path: Path) -> None:
    for other in {DETECTOR_NAME, MESH_NAME} - {name}:
        (tmp_path / other).write_bytes((models / other).read_bytes())
    with pytest.raises(FaceModelsError, match=f"{name}: no such file; .*eulernet face-models --out {tmp_path}"):
        FaceFinder(tmp_path)


def test_damaged_model_names_the_remedy(models: Path, tmp_path: Path) -> None:
    (tmp_path / DETECTOR_NAME).write_bytes((models / DETECTOR_NAME).read_bytes()[:1000])
    with pytest.raises(FaceModelsError, match="not an ONNX model .*`eulernet face-models"):
        FaceFinder(tmp_path)


def test_exchanged_models_are_told_apart(models: Path, tmp_path: Path) -> None:
    (tmp_path / DETECTOR_NAME).write_bytes((models / MESH_NAME).read_bytes())
    with pytest.raises(FaceModelsError, match=f"{DETECTOR_NAME}: its tensors are"):
        FaceFinder(tmp_path)
