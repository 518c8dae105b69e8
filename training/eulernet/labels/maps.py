# SPDX-License-Identifier: Apache-2.0
"""Training targets of 32x32 from the face's landmarks: face location map, binary mask, depth map.

The location map is from the slides ("Face Location Map: fast, abundant, easy to learn"): the same relief for every
person, fitted to the face. Its construction is not published; this one is a declared choice. The target of a
presentation attack is 0 everywhere.
"""

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.labels.mesh import face_mesh
from eulernet.labels.mesh_raster import rasterise
from eulernet_core.tensors import MAP_SIDE

Floats = NDArray[np.float32]
LabelKind = Literal["location", "mask", "depth"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
LABEL_SIDE = MAP_SIDE


def location_map(landmarks_px: Floats, box_px: Floats, side: int = LABEL_SIDE) -> Floats:
    """The mean face's relief on this face, nose 1 to ears 0; nearer parts of the surface hide farther ones.

    Args:
        landmarks_px: fp32 (468, 3), x, y, z (away from the camera) in px of the picture.
        box_px: fp32 (4,), x0, y0, x1, y1: the square crop of the map.
        side: of the map, in cells.
    Returns: fp32 (side, side), 0..1.
    """
    mesh = face_mesh()
    drawn = rasterise(_in_cells(landmarks_px, box_px, side), mesh.relief[:, None], mesh.triangles, side)
    return np.asarray(drawn[0])


def depth_map(landmarks_px: Floats, box_px: Floats, side: int = LABEL_SIDE) -> Floats:
    """This face's relief from the camera: nearest point 1, farthest 0. Arguments as for location_map.

    z is an estimate of the landmark network from one picture. A depth camera or a 3-D reconstruction measures more and
    costs more.
    """
    nearness = _nearness(landmarks_px)
    drawn = rasterise(_in_cells(landmarks_px, box_px, side), nearness[:, None], face_mesh().triangles, side)
    return np.asarray(drawn[0])


def binary_mask(landmarks_px: Floats, box_px: Floats, side: int = LABEL_SIDE) -> Floats:
    """1 in cells with their middle inside the convex hull of the landmarks, else 0. Arguments as for location_map."""
    hull = cv2.convexHull(np.ascontiguousarray(_in_cells(landmarks_px, box_px, side)[:, :2]))[:, 0]
    edges = np.roll(hull, -1, axis=0) - hull
    middle = np.arange(side, dtype=np.float32) + 0.5
    # The same sign of all cross products: inside. (edges, rows, columns)
    dx, dy = middle[None, None, :] - hull[:, 0, None, None], middle[None, :, None] - hull[:, 1, None, None]
    turn = edges[:, 0, None, None] * dy - edges[:, 1, None, None] * dx
    inside = (turn >= 0).all(axis=0) | (turn <= 0).all(axis=0)
    return np.asarray(inside, np.float32)


def label_maps(landmarks_px: Floats, box_px: Floats, side: int = LABEL_SIDE) -> Floats:
    """All three in the order of LABEL_KINDS: fp32 (3, side, side), drawn in one pass. Arguments as for location_map."""
    mesh = face_mesh()
    values = np.stack([mesh.relief, _nearness(landmarks_px)], axis=1)
    location, depth = rasterise(_in_cells(landmarks_px, box_px, side), values, mesh.triangles, side)
    return np.stack([location, binary_mask(landmarks_px, box_px, side), depth])


def label_map(kind: LabelKind, landmarks_px: Floats, box_px: Floats, side: int = LABEL_SIDE) -> Floats:
    """The map of one kind: fp32 (side, side). Arguments as for location_map."""
    return {"location": location_map, "mask": binary_mask, "depth": depth_map}[kind](landmarks_px, box_px, side)


def _in_cells(landmarks_px: Floats, box_px: Floats, side: int) -> Floats:
    scale = side / (box_px[2] - box_px[0])
    corner = np.array([box_px[0], box_px[1], 0], np.float32)
    return np.asarray((landmarks_px - corner) * scale, np.float32)


def _nearness(landmarks_px: Floats) -> Floats:
    z = landmarks_px[:, 2]
    return np.asarray((z.max() - z) / max(float(z.max() - z.min()), 1e-6), np.float32)
