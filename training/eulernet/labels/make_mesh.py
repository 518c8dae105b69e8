# SPDX-License-Identifier: Apache-2.0
"""Makes face_mesh.npz, the mesh behind the labels; run by hand: `python -m eulernet.labels.make_mesh WHEEL`.

triangles: from the list of edges in MediaPipe's wheel (852 triangles, each as three consecutive edges). A strip closes
each of the holes at the eyes and the mouth. points: the mean of the face mesh model's shapes for two public-domain
photographs and their mirror images, aligned (generalised Procrustes analysis, Gower 1975), so that it is symmetric.
"""

import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet.labels.mesh import BROW_TOP, CHIN, MESH_FILE, NOSE_TIP
from eulernet_core.shipped import face_models_folder
from eulernet_core.whole_files import replacing

Floats = NDArray[np.float64]
Triangles = NDArray[np.int64]
CONNECTIONS = "mediapipe/python/solutions/face_mesh_connections.py"
# The two corners of each hole, the ends of its upper and lower rim.
_CORNERS = ((33, 133), (362, 263), (78, 308))


def triangles_of(connections: str) -> Triangles:
    """The whole face as a disc without holes: int64 (898, 3), from the text of the wheel's file."""
    body = re.search(r"FACEMESH_TESSELATION = frozenset\(\[(.*?)\]\)", connections, re.DOTALL)
    if body is None:
        raise ValueError(f"{CONNECTIONS}: no FACEMESH_TESSELATION in it; use the pinned wheel")
    edges = np.array(re.findall(r"\((\d+),\s*(\d+)\)", body[1]), np.int64).reshape(-1, 3, 2)
    if (edges[:, :, 1] != np.roll(edges[:, :, 0], -1, axis=1)).any():
        raise ValueError(f"{CONNECTIONS}: its edges are not triples around a triangle; use the pinned wheel")
    triangles = edges[:, :, 0]
    strips = [_strip(loop) for loop in _loops(triangles)]
    return np.concatenate([triangles, *(strip for strip in strips if len(strip))])


def _loops(triangles: Triangles) -> list[list[int]]:
    """Rims of the surface, each in the direction for closing it (opposite to the direction of its triangles)."""
    directed = {(int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3)}
    after = {b: a for a, b in directed if (b, a) not in directed}
    loops = []
    while after:
        at = next(iter(after))
        loop = []
        while at in after:
            loop.append(at)
            at = after.pop(at)
        loops.append(loop)
    return loops


def _strip(loop: list[int]) -> Triangles:
    """A zigzag of triangles between the rims of an eye or the mouth; empty for the outer rim, which has no corners."""
    for a, b in _CORNERS:
        if a in loop and b in loop:
            start = loop.index(a)
            turned = loop[start:] + loop[:start]
            half = turned.index(b)
            one, other = turned[: half + 1], [a, *turned[: half - 1 : -1]]
            pieces = []
            for i in range(half):
                pieces.append((one[i], one[i + 1], other[i + 1]))
                pieces.append((one[i], other[i + 1], other[i]))
            return np.array([piece for piece in pieces if len(set(piece)) == 3], np.int64)
    return np.empty((0, 3), np.int64)


def mean_face(shapes: list[Floats], mirrored: list[Floats]) -> Floats:
    """The symmetric mean of shapes (468, 3) and their mirror images: x right, y down, z towards the viewer.

    Its farthest point has z 0 and its nearest z 1; x and y are in the same unit, 0 midway between the ears.
    """
    from scipy.optimize import linear_sum_assignment

    gaps = 0.0
    for shape, other in zip(shapes, mirrored, strict=True):
        gaps = gaps + ((shape[:, None] - other[None] * [-1, 1, 1]) ** 2).sum(axis=-1) / shape.var()
    # The mirror image of each point, by the pairing with the smallest sum of distances.
    twin = linear_sum_assignment(gaps + np.transpose(gaps))[1]
    if (twin[twin] != np.arange(len(twin))).any():
        raise ValueError("left and right points can't be paired; use other photographs")
    every = [*shapes, *(shape[twin] * [-1, 1, 1] for shape in shapes)]
    mean = _unit(every[0])
    for _ in range(20):
        aligned = [_aligned(shape, mean) for shape in every]
        mean = _unit(np.mean(aligned, axis=0))
        mean = (mean + mean[twin] * [-1, 1, 1]) / 2  # the plane of symmetry stays at x = 0
    mean = mean @ _pitch(mean).T
    mean[:, 2] = mean[:, 2].max() - mean[:, 2]
    mean /= mean[:, 2].max()
    mean[:, 1] -= mean[[234, 454], 1].mean()
    return mean


def _unit(shape: Floats) -> Floats:
    centred = shape - shape.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred))


def _aligned(shape: Floats, to: Floats) -> Floats:
    u, _, vt = np.linalg.svd(_unit(shape).T @ to)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return np.asarray(_unit(shape) @ (u @ vt))


def _pitch(shape: Floats) -> Floats:
    """The rotation about x that gives brow and chin the same distance, so that the face looks straight ahead."""
    _, y, z = shape[CHIN] - shape[BROW_TOP]
    angle = np.arctan2(z, y)
    return np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])


def measured_shapes(models: Path) -> tuple[list[Floats], list[Floats]]:
    """The mesh's points of the two photographs and of their mirror images, each (468, 3) about its mean."""
    from eulernet.faces import FaceFinder
    from eulernet.labels.labels_picture import photographs

    finder = FaceFinder(models)
    shapes: tuple[list[Floats], list[Floats]] = ([], [])
    for photograph in photographs().values():
        for picture, found in zip((photograph, np.ascontiguousarray(photograph[:, ::-1])), shapes, strict=True):
            face = finder.find(picture)
            points: Any = None if face is None else finder.landmarks(picture, face)
            if points is None:
                raise ValueError("no face found in a photograph; make the face models again")
            found.append((points - points.mean(axis=0)).astype(np.float64))
    return shapes


def main(wheel: Path, models: Path) -> None:
    """Writes face_mesh.npz beside this file."""
    with zipfile.ZipFile(wheel) as archive:
        triangles = triangles_of(archive.read(CONNECTIONS).decode())
    points = mean_face(*measured_shapes(models))
    with replacing(MESH_FILE) as temporary:
        np.savez_compressed(temporary, triangles=triangles.astype(np.uint16), points=points.astype(np.float32))
    print(f"{MESH_FILE}: {len(triangles)} triangles, nose at {points[NOSE_TIP].round(3)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), face_models_folder())
