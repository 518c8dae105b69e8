# SPDX-License-Identifier: Apache-2.0
"""The square around a face, and the overlap of boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eulernet_core.face_box import iou, reduction, square_box


@given(
    st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4),
    st.integers(2, 5000),
    st.integers(2, 5000),
    st.floats(0.5, 4),
)
def test_square_lies_inside_the_picture(corners, width, height, scale):
    x0, x1, y0, y1 = *sorted(corners[:2]), *sorted(corners[2:])
    box = square_box(np.array([x0, y0, x1, y1], np.float32), width, height, scale)
    assert (box == np.round(box)).all()
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height
    assert box[2] - box[0] == box[3] - box[1]


def test_square_is_centred_on_the_face():
    box = square_box(np.array([0.4, 0.3, 0.6, 0.5], np.float32), 1000, 1000, 1.5)
    np.testing.assert_array_equal(box, [350, 250, 650, 550])


@pytest.mark.parametrize(
    ("side", "by"), [(2, 1), (256, 1), (511, 1), (512, 2), (1023, 2), (2047, 2), (2048, 4), (9000, 4)]
)
def test_a_large_square_begins_and_ends_at_reduced_pixels(side, by):
    assert reduction(side) == by
    for at in range(9):
        box = square_box(np.array([at, at, at + side, at + side], np.float32) / 10_000, 10_000, 10_000, 1.0)
        assert (box % by == 0).all()
        assert np.abs(box - [at, at, at + side, at + side]).max() < 2 * by
        assert reduction(int(box[2] - box[0])) == by


@pytest.mark.parametrize(
    ("other", "expected"), [((0, 0, 2, 2), 1.0), ((1, 0, 3, 2), 1 / 3), ((2, 0, 4, 2), 0.0), ((5, 5, 5, 5), 0.0)]
)
def test_overlap(other, expected):
    assert iou(np.array([0, 0, 2, 2], np.float32), np.array(other, np.float32)) == pytest.approx(expected)
