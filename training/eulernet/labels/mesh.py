# SPDX-License-Identifier: Apache-2.0
"""The face's surface: the triangles between the 468 points, and the mean face's shape.

make_mesh.py makes the table face_mesh.npz. Its triangles are MediaPipe's (Copyright The MediaPipe Authors, Apache
License 2.0), its points were measured.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

POINTS, TRIANGLES = 468, 898
NOSE_TIP, BROW_TOP, CHIN, RIGHT_EAR, LEFT_EAR = 1, 10, 152, 234, 454  # right is the person's right
MESH_FILE = Path(__file__).with_name("face_mesh.npz")


@dataclass(frozen=True)
class FaceMesh:
    """triangles: int64 (898, 3), all wound the same way. points: fp32 (468, 3), the mean face: x right in the picture,
    y down, z towards the viewer, 0 at the ears to 1 at the nose; x and y in the same unit."""

    triangles: NDArray[np.int64]
    points: NDArray[np.float32]

    @property
    def relief(self) -> NDArray[np.float32]:
        """Height of each point on the mean face: fp32 (468,), 0 at the ears to 1 at the nose."""
        return self.points[:, 2]


@cache
def face_mesh() -> FaceMesh:
    """The table, read once. Its arrays are read-only."""
    with np.load(MESH_FILE) as table:
        mesh = FaceMesh(table["triangles"].astype(np.int64), table["points"])
    mesh.triangles.flags.writeable = mesh.points.flags.writeable = False
    return mesh
