# SPDX-License-Identifier: Apache-2.0
"""The rendered head: shape, rasterising, light, pulse and motion, without camera noise."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from eulernet.simulation import head, light
from eulernet.simulation import triangle_raster as raster
from eulernet.simulation.features import Expression
from eulernet.simulation.motion import Person
from eulernet.simulation.pulse import Pulse
from eulernet.simulation.randomness import stream
from eulernet.simulation.scene import Scene, Subject, View

VIEW = View(256, 192, 115.0, (0.5, 0.4))


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(seed=7, user=3)


@pytest.fixture(scope="module")
def scene(subject: Subject) -> Scene:
    return Scene(subject, VIEW, 2, stream(7, "scene"), duration_s=1.0)


def test_streams_depend_on_names_only():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    assert stream(1, "a", 2).random() != stream(1, "a", 3).random()
    assert stream(1, "a").random() != stream(2, "a").random()


def test_the_raster_agrees_with_each_pixel_worked_out_alone():
    points = np.array([[2.2, 1.1], [13.7, 3.3], [4.1, 12.9], [12.0, 12.5]], np.float32)
    mesh = raster.Mesh(np.array([[0, 1, 2], [1, 3, 2]], np.int32), 4)
    depth = np.array([1, 2, 3, 4], np.float32)
    attributes = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    picture = raster.rasterise(mesh, points, depth, attributes, 16, 16)
    for y in range(16):
        for x in range(16):
            expected = None
            for triangle in mesh.triangles:
                system = np.vstack([points[triangle].T, np.ones(3)])
                weights = np.linalg.solve(system, [x + 0.5, y + 0.5, 1])
                if (weights > 1e-3).all():
                    expected = weights @ attributes[triangle, 0]
            if expected is not None:
                assert picture[y, x, 1] == 1
                assert picture[y, x, 0] == pytest.approx(expected, abs=1e-3)
    outside = cv2.pointPolygonTest(points[[0, 1, 3, 2]], (1.5, 8.5), False)
    assert outside < 0
    assert picture[8, 1, 1] == 0


def test_the_nearer_of_two_triangles_is_seen_and_one_that_faces_away_is_not():
    corners = np.array([[1, 1], [9, 1], [1, 9]], np.float32)
    mesh = raster.Mesh(np.array([[0, 1, 2], [3, 4, 5], [6, 8, 7]], np.int32), 9)
    points = np.concatenate([corners] * 3)
    depth = np.array([2] * 3 + [1] * 3 + [0.5] * 3, np.float32)
    values = np.array([[10.0]] * 3 + [[20.0]] * 3 + [[30.0]] * 3, np.float32)
    assert raster.rasterise(mesh, points, depth, values, 10, 10)[2, 2, 0] == 20


def test_the_mean_head_goes_through_the_points_of_the_face():
    points = head.face_points()
    on_grid = head.on_head(head.mean_head(), head.directions_deg(points))
    error = np.linalg.norm(on_grid - points, axis=1)
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.95) < 0.06
    assert np.isfinite(head.mean_head()).all()
    assert head.normals(head.mean_head())[head.ROWS // 2, head.COLUMNS // 2, 2] < -0.5


@pytest.mark.slow
def test_people_differ_in_shape_and_colour():
    others = [Subject(7, user) for user in (1, 2)]
    assert np.abs(others[0].grid - others[1].grid).max() > 0.02
    assert np.abs(others[0].albedo - others[1].albedo).mean() > 0.01
    assert np.array_equal(Subject(7, 1).albedo, others[0].albedo)


def test_light_from_one_side_leaves_the_other_darker_and_the_nose_casts_a_shadow():
    grid = head.mean_head()
    direction = np.array([-0.8, -0.2, -0.56], np.float32)
    lit = light.cast_shadow(grid, direction / np.linalg.norm(direction))
    points = head.face_points()
    columns = ((head.directions_deg(points)[:, 0] + head.AZIMUTH_DEG) / head.STEP_DEG).round().astype(int)
    rows = ((head.directions_deg(points)[:, 1] - head.ELEVATION_DEG[0]) / head.STEP_DEG).round().astype(int)
    right, left = lit[rows[203], columns[203]], lit[rows[423], columns[423]]  # beside the nose
    assert right > left + 0.1


def test_the_pulse_is_in_the_live_skin_at_its_rate_and_nowhere_else(scene):
    scene.pulse = Pulse(rate_hz=1.5, amplitude=0.01, phase=0.0)
    first = scene.frame(0.0, still=True)
    x, y = first.points[[205, 425]].round().astype(int).T
    cheeks, wall = [], []
    for index in range(40):
        picture = scene.frame(index / 10, still=True).picture
        cheeks.append(picture[y, x, 1].mean())
        wall.append(picture[5:15, 5:15, 1].mean())
    signal = np.array(cheeks) / np.mean(cheeks) - 1
    spectrum = np.abs(np.fft.rfft(signal))
    assert np.fft.rfftfreq(40, 0.1)[spectrum.argmax()] == pytest.approx(1.5, abs=0.13)
    assert 0.002 < np.ptp(signal) < 0.03
    assert np.ptp(wall) == 0


def test_lids_close_over_the_eye(subject):
    eye = subject.features[0]
    open_eye, closed = eye.draw(Expression(lids=0.0)), eye.draw(Expression(lids=1.0))
    x, y = (round(value) for value in eye._centre)
    pupil = (slice(y - 4, y + 1), slice(x - 3, x + 4))
    assert closed[pupil].mean() > 4 * open_eye[pupil].mean()
    assert np.allclose(open_eye[0], closed[0])


def test_blinks_are_short_and_the_head_moves_smoothly():
    lids = np.array([[Person(stream(1, "p", k), 3.0).lids(t / 100) for t in range(300)] for k in range(12)])
    shut = (lids > 0.5).mean()
    assert 0.01 < shut < 0.25
    person = Person(stream(1, "p", 0), 3.0)
    turns = np.array([person.pose(t / 30).turn for t in range(90)])
    assert np.abs(np.diff(turns, axis=0)).max() < np.deg2rad(4)
    assert np.ptp(turns[:, 0]) > np.deg2rad(1)


def test_a_frame_has_no_holes_and_is_finite(subject, scene):
    # With a very bright head, a hole would show the dark wall.
    white = replace(scene.frame(0.0))
    assert np.isfinite(white.picture).all()
    assert (white.picture >= 0).all()
    oval = cv2.convexHull(white.points[[10, 234, 454, 152, 127, 356, 172, 397]].astype(np.float32))
    mask = cv2.fillConvexPoly(np.zeros(white.picture.shape[:2], np.uint8), oval.round().astype(np.int32), 1)
    mask = cv2.erode(mask, np.ones((9, 9), np.uint8))
    plain = Scene(subject, VIEW, 2, stream(7, "scene"), duration_s=1.0)
    plain._wall[:] = 50.0
    seen = plain.frame(0.0).picture
    assert seen[mask > 0].max() < 10
