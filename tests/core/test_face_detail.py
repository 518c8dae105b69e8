# SPDX-License-Identifier: Apache-2.0
"""The detail of a crop: its formula, what changes it and what does not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eulernet_core.face_detail import face_detail

SIDE_PX = 256
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face(portrait: Picture) -> Picture:
    """A crop of a real face, uint8 (256, 256, 3), with the grain of a camera."""
    crop = cv2.resize(portrait[:300, 70:370], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    crop += np.random.default_rng(1).normal(0, 2, (SIDE_PX, SIDE_PX, 1))
    return np.clip(crop, 0, 255).astype(np.uint8)


def detail(picture: Picture) -> float:
    return float(face_detail(picture[None])[0])


def test_the_formula_on_a_picture_computed_by_hand():
    """One bright px inside a block: |9x - box| is 8 at it and 1 at its 8 neighbours, in the fine and the coarse one."""
    picture = np.zeros((1, 16, 16, 3), np.uint8)
    picture[0, 6, 6] = 48  # X = 144, P = 144 / 16
    fine = 16 * 144 / 14**2
    coarse = (8 + 3) * 9 / 2**2  # 4x4 blocks: the 2x2 inner ones are the bright one and three neighbours
    assert face_detail(picture)[0] == pytest.approx(fine / coarse)


def test_blur_compression_and_enlargement_lower_it(face):
    sharp = detail(face)
    blurred = [detail(cv2.GaussianBlur(face, (0, 0), sigma)) for sigma in (0.5, 1.0, 2.0)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    small = cv2.resize(face, (96, 96), interpolation=cv2.INTER_AREA)
    assert detail(cv2.resize(small, (SIDE_PX, SIDE_PX))) < 0.6 * sharp
    coded = [cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, q])[1], 1) for q in (95, 50, 10)]
    assert detail(coded[0]) > detail(coded[1]) > detail(coded[2])


def test_contrast_and_brightness_hardly_change_it(face):
    darker = (face * 0.5 + 20).astype(np.uint8)
    assert detail(darker) == pytest.approx(detail(face), rel=0.1)


def test_each_crop_of_a_batch_has_its_own(face):
    both = np.stack([face, cv2.GaussianBlur(face, (0, 0), 2)])
    found = face_detail(both)
    assert found.dtype == np.float32
    assert found.tolist() == [detail(both[0]), detail(both[1])]


def test_a_plain_picture_has_none():
    assert detail(np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)) == 0


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8),
        np.zeros((1, 3, SIDE_PX, SIDE_PX), np.uint8),
        np.zeros((1, SIDE_PX, 250, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((1, SIDE_PX, SIDE_PX, 3), np.float32),
    ],
    ids=["no batch", "planar", "no multiple of 4", "too small", "float"],
)
def test_other_shapes_and_types_are_refused(faces):
    with pytest.raises(ValueError, match="give uint8"):
        face_detail(faces)
