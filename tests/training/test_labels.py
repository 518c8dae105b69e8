# SPDX-License-Identifier: Apache-2.0
"""Labels: the mesh is a whole face, rasterising agrees with a plain reference, and each map has its values."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from skimage import data
from skimage.draw import polygon2mask

from eulernet.faces import FaceFinder
from eulernet.labels import (
    LABEL_KINDS,
    LabelKind,
    binary_mask,
    depth_map,
    face_mesh,
    label_map,
    label_maps,
    location_map,
    make_mesh,
)
from eulernet.labels.labels_picture import photographs
from eulernet.labels.labels_picture_command import labels_picture
from eulernet.labels.mesh import BROW_TOP, CHIN, LEFT_EAR, NOSE_TIP, RIGHT_EAR
from eulernet.labels.mesh_raster import rasterise

BOX = np.array([0, 0, 320, 320], np.float32)
Floats = NDArray[np.float32]


def mean_landmarks(turn_deg: float = 0.0) -> Floats:
    """The mean face in the middle of BOX, rotated about its vertical axis; z away from the camera."""
    points = face_mesh().points * [1, 1, -1]
    angle = np.radians(turn_deg)
    turn = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return (points @ np.array(turn).T * 160 + [160, 160, 0]).astype(np.float32)


def directed_edges() -> Counter[tuple[int, int]]:
    triangles = face_mesh().triangles
    return Counter((int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3))


def test_mesh_is_one_disc_without_holes() -> None:
    triangles = face_mesh().triangles
    assert triangles.shape == (898, 3)
    assert set(triangles.ravel().tolist()) == set(range(468))
    directed = directed_edges()
    assert set(directed.values()) == {1}  # all triangles have the same winding, and no edge is in three of them
    edges = {frozenset(edge) for edge in directed}
    assert 468 - len(edges) + 898 == 1  # Euler characteristic of a disc


def test_mesh_ends_at_the_face_s_outline() -> None:
    directed = directed_edges()
    rim = {a for a, b in directed if (b, a) not in directed}
    assert len(rim) == 36
    assert {BROW_TOP, CHIN, RIGHT_EAR, LEFT_EAR} <= rim
    hulls = [cv2.convexHull(np.ascontiguousarray(face_mesh().points[each, :2])) for each in (sorted(rim), range(468))]
    assert cv2.contourArea(hulls[0]) > 0.97 * cv2.contourArea(hulls[1])  # the rest lies within it


def test_mean_face_is_a_face() -> None:
    points, relief = face_mesh().points, face_mesh().relief
    assert relief.min() == 0
    assert relief.max() == 1
    assert relief[NOSE_TIP] > 0.95
    assert relief[[RIGHT_EAR, LEFT_EAR]].max() < 0.05
    assert 0.5 < relief[BROW_TOP] < 0.8
    np.testing.assert_allclose(relief[BROW_TOP], relief[CHIN], atol=1e-5)  # it looks straight ahead
    np.testing.assert_allclose(points[RIGHT_EAR] * [-1, 1, 1], points[LEFT_EAR], atol=1e-5)
    assert points[RIGHT_EAR, 0] < 0 < points[LEFT_EAR, 0]
    assert points[BROW_TOP, 1] < points[NOSE_TIP, 1] < points[CHIN, 1]


def test_table_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        face_mesh().points[0] = 0


def test_table_is_what_its_maker_measures(face_models: Path) -> None:
    measured = make_mesh.mean_face(*make_mesh.measured_shapes(face_models))
    np.testing.assert_allclose(measured, face_mesh().points, atol=1e-3)


def test_triangles_are_made_from_edges_and_holes_closed() -> None:
    triangles = face_mesh().triangles
    edges = [f"({t[i]}, {t[(i + 1) % 3]})" for t in triangles[:852] for i in range(3)]
    text = f"FACEMESH_TESSELATION = frozenset([{', '.join(edges)}])"
    np.testing.assert_array_equal(make_mesh.triangles_of(text), triangles)
    with pytest.raises(ValueError, match="triples"):
        make_mesh.triangles_of("FACEMESH_TESSELATION = frozenset([(0, 1), (2, 3), (4, 5)])")
    with pytest.raises(ValueError, match="no FACEMESH_TESSELATION"):
        make_mesh.triangles_of("")


def plain_rasterise(points: Floats, values: Floats, triangles: NDArray[np.int64], size: int, oversample: int) -> Floats:
    """A plain loop over samples and triangles, in float64."""
    side = size * oversample
    samples = np.zeros((side, side, values.shape[1]))
    for row in range(side):
        for column in range(side):
            sample, nearest = np.array([column + 0.5, row + 0.5]) / oversample, np.inf
            for triangle in triangles:
                a, b, c = points[triangle, :2].astype(np.float64)
                matrix = np.stack([b - a, c - a], axis=1)
                if abs(np.linalg.det(matrix)) < 1e-12:
                    continue
                wb, wc = np.linalg.solve(matrix, sample - a)
                weights = np.array([1 - wb - wc, wb, wc])
                if weights.min() >= 0 and weights @ points[triangle, 2] < nearest:
                    nearest = weights @ points[triangle, 2]
                    samples[row, column] = weights @ values[triangle]
    cells = samples.reshape(size, oversample, size, oversample, -1).mean(axis=(1, 3))
    return cells.transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "oversample"), [(7, 1), (5, 3)])
def test_drawing_agrees_with_the_plain_reference(seed: int, size: int, oversample: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, size + 2, (12, 3)).astype(np.float32)
    values = rng.uniform(0, 1, (12, 2)).astype(np.float32)
    triangles = np.concatenate([rng.permuted(np.tile(np.arange(12), (6, 1)), axis=1)[:, :3], [[3, 3, 5]]])
    expected = plain_rasterise(points, values, triangles, size, oversample)
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(rasterise(points, values, triangles, size, oversample), expected, atol=1e-4)


def test_the_nearer_surface_is_seen_whatever_the_order_and_the_winding() -> None:
    corners = np.array([[-10, -10], [30, -10], [-10, 30]], np.float32)
    near, far = np.column_stack([corners, [1, 1, 1]]), np.column_stack([corners, [2, 2, 2]])
    points, values = np.concatenate([near, far]).astype(np.float32), np.array([[1.0]] * 3 + [[0.5]] * 3, np.float32)
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 5, 4], [0, 1, 2]], [[3, 4, 5], [0, 2, 1]]):
        np.testing.assert_allclose(rasterise(points, values, np.array(triangles), 4), 1.0, rtol=1e-6)


def test_nothing_is_drawn_outside() -> None:
    away = mean_landmarks() + np.array([1000, 0, 0], np.float32)
    assert not label_maps(away, BOX).any()


@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_maps_are_what_they_say(kind: LabelKind) -> None:
    drawn = label_map(kind, mean_landmarks(), BOX)
    assert drawn.shape == (32, 32)
    assert drawn.dtype == np.float32
    assert drawn.min() == 0
    assert 0.9 < drawn.max() <= 1
    np.testing.assert_allclose(drawn, drawn[:, ::-1], atol=0.03)  # the mean face is symmetric
    np.testing.assert_allclose(drawn, label_maps(mean_landmarks(), BOX)[LABEL_KINDS.index(kind)], atol=1e-6)


@pytest.mark.parametrize("draw", [location_map, depth_map])
def test_nose_is_high_and_ears_are_low(draw: Callable[[Floats, Floats], Floats]) -> None:
    landmarks = mean_landmarks()
    drawn = draw(landmarks, BOX)
    x, y = (landmarks[NOSE_TIP, :2] / 10).astype(int)
    assert drawn[y, x] > 0.9
    assert np.hypot(*(np.array(np.unravel_index(drawn.argmax(), (32, 32))) - [y, x])) < 2
    left, right = np.flatnonzero(drawn[16])[[0, -1]]
    assert drawn[16, [left, right]].max() < 0.3
    assert 0.4 < drawn[16, (left + x) // 2] < 0.9


def test_location_map_is_the_same_relief_for_everybody() -> None:
    """A flattened face has the usual location map, but another depth map."""
    usual, flat = mean_landmarks(), mean_landmarks()
    flat[:, 2] = ((flat[:, 2] + 160) / 160) ** 3 * 160 - 160  # the points keep their order
    location = np.abs(location_map(usual, BOX) - location_map(flat, BOX))
    depth = np.abs(depth_map(usual, BOX) - depth_map(flat, BOX))
    assert location.max() < 0.05
    assert depth.max() > 0.15


@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_maps_turn_and_move_with_the_face(kind: LabelKind) -> None:
    landmarks = mean_landmarks()
    quarter = landmarks.copy()
    quarter[:, 0], quarter[:, 1] = landmarks[:, 1], 320 - landmarks[:, 0]  # a quarter to the left, as numpy.rot90
    straight = label_map(kind, landmarks, BOX)
    np.testing.assert_allclose(label_map(kind, quarter, BOX), np.rot90(straight), atol=1e-3)
    moved = landmarks + np.array([20, -30, 5], np.float32)
    np.testing.assert_allclose(label_map(kind, moved, BOX), np.roll(straight, (-3, 2), (0, 1)), atol=1e-3)
    box = BOX * 2 + np.array([50, 70, 50, 70], np.float32)
    again = landmarks * 2 + np.array([50, 70, 0], np.float32)
    np.testing.assert_allclose(label_map(kind, again, box), straight, atol=1e-3)


def test_turned_face_hides_its_far_cheek() -> None:
    """In half profile the nose hides a part of the far cheek."""
    landmarks = mean_landmarks(55)
    drawn = location_map(landmarks, BOX)
    x, y = (landmarks[NOSE_TIP, :2] / 10).astype(int)
    far_side = landmarks[[RIGHT_EAR, LEFT_EAR], 0].argmin()
    towards = -1 if far_side == 0 else 1
    assert drawn[y, x] > 0.8
    assert 0 < np.count_nonzero(drawn[y, x::towards]) < np.count_nonzero(drawn[y, x::-towards])


def test_mask_is_the_hull() -> None:
    landmarks = mean_landmarks()
    hull = cv2.convexHull(np.ascontiguousarray(landmarks[:, :2]))[:, 0] / 10
    mask = binary_mask(landmarks, BOX)
    assert set(np.unique(mask).tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(mask, polygon2mask((32, 32), hull[:, ::-1] - 0.5))


@pytest.mark.slow
def test_command_draws_and_tells_the_times(face_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "labels.png"
    result = CliRunner().invoke(labels_picture, ["--out", str(out), "--face-models", str(face_models)])
    assert result.exit_code == 0, result.output
    assert f"{out}: 7 faces" in result.output
    for word in ("landmarks", "face location map", "binary mask", "depth map"):
        line = next(line for line in result.output.splitlines() if line.strip().startswith(word))
        assert float(line.split()[-2]) > 0
    assert cv2.imread(str(out)).std() > 10


def test_command_names_what_it_can_not_use(face_models: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    missing = run(labels_picture, ["--face-models", str(tmp_path), "--out", str(tmp_path / "a.png")])
    assert missing.exit_code == 1
    assert "eulernet face-models" in missing.output
    garbage = tmp_path / "garbage.jpg"
    garbage.write_bytes(b"no picture")
    result = run(labels_picture, [str(garbage), "--face-models", str(face_models), "--out", str(tmp_path / "a.png")])
    assert result.exit_code == 1
    assert "garbage.jpg: " in result.output
    coffee = tmp_path / "coffee.png"
    cv2.imwrite(str(coffee), data.coffee())
    result = run(labels_picture, [str(coffee), "--face-models", str(face_models), "--out", str(tmp_path / "a.png")])
    assert result.exit_code == 1
    assert "coffee.png: no face" in result.output
    assert not (tmp_path / "a.png").exists()


def test_real_faces_get_full_maps(face_models: Path) -> None:
    finder = FaceFinder(face_models)
    for picture in photographs().values():
        face = finder.find(picture)
        assert face is not None
        points = finder.landmarks(picture, face)
        assert points is not None
        location, mask, depth = label_maps(points, face.box_px)
        assert 0.1 < mask.mean() < 0.6
        for drawn in (location, depth):
            assert ((drawn > 0) == (mask > 0)).mean() > 0.9
            assert drawn.max() > 0.95
