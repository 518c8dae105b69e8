# SPDX-License-Identifier: Apache-2.0
"""Rasterises small triangles with a z-buffer, all triangles at once (edge functions of Pineda 1988), in plain numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eulernet.simulation.randomness import Floats

_SMALL_PX = 5
_LARGE_PX = 24


@dataclass(frozen=True)
class Mesh:
    """Triangles of a grid: int32 (T, 3), clockwise on the screen (x right, y down) when they face the camera."""

    triangles: NDArray[np.int32]
    vertices: int


def grid_mesh(rows: int, columns: int) -> Mesh:
    """Two triangles per cell of a (rows, columns) grid of vertices, in row-major order."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return Mesh(triangles, rows * columns)


def rasterise(mesh: Mesh, points: Floats, depth: Floats, attributes: Floats, height: int, width: int) -> Floats:
    """Draws a mesh's attributes.

    Args:
        mesh: T triangles over V vertices; triangles that face away are skipped.
        points: float32 (V, 2), x, y in pixels; pixel centres are at halves.
        depth: float32 (V,), distance from the camera.
        attributes: float32 (V, A), interpolated linearly on the screen.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Returns:
        float32 (height, width, A + 1); the last channel is 1 if a triangle covers the pixel's centre.
    """
    first, second, third = (points[mesh.triangles[:, k]] for k in range(3))
    edge_1, edge_2 = second - first, third - first
    area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
    low = np.floor(np.minimum(np.minimum(first, second), third) - 0.5)
    size = np.ceil(np.maximum(np.maximum(first, second), third) - 0.5) - low
    extent = np.maximum(size[:, 0], size[:, 1])
    # Larger triangles are artefacts of folds, because the cells of the grid are small.
    seen = np.flatnonzero((area > 1e-4) & (extent <= _LARGE_PX))
    corners = np.stack([first, second, third], 1)
    far_first = seen[np.argsort(-depth[mesh.triangles[seen, 0]], kind="stable")]
    owner = np.full(height * width, -1, np.int32)
    nearest = np.full(height * width, np.inf, np.float32)
    weights = np.zeros((height * width, 3), np.float32)
    for smallest, largest in ((0, _SMALL_PX), (_SMALL_PX, _LARGE_PX)):
        chosen = far_first[(extent[far_first] > smallest) & (extent[far_first] <= largest)]
        if len(chosen) == 0:
            continue
        side = int(extent[chosen].max()) + 1
        which, pixel, inside = _covered(corners[chosen], area[chosen], low[chosen], side, height, width)
        triangle = chosen[which]
        distance = np.einsum("nk,nk->n", depth[mesh.triangles[triangle]], inside)
        front = distance <= nearest[pixel]
        # The last of several writes to a pixel is kept, and the triangles are sorted from far to near.
        pixel, triangle, inside, distance = pixel[front], triangle[front], inside[front], distance[front]
        owner[pixel], nearest[pixel], weights[pixel] = triangle, distance, inside
    picture = np.zeros((height * width, attributes.shape[1] + 1), np.float32)
    drawn = np.flatnonzero(owner >= 0)
    values = attributes[mesh.triangles[owner[drawn]]]
    picture[drawn, :-1] = np.einsum("nka,nk->na", values, weights[drawn])
    picture[drawn, -1] = 1
    return picture.reshape(height, width, -1)


def _covered(
    corners: Floats, area: Floats, low: Floats, side: int, height: int, width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Pixels in each triangle, within a block of `side` x `side`: (triangle, pixel, weights (n, 3))."""
    offset = np.arange(side, dtype=np.float32)
    x = (low[:, 0, None] + offset + 0.5)[:, None, :]
    y = (low[:, 1, None] + offset + 0.5)[:, :, None]
    scale = (1 / area)[:, None, None]
    p0, p1, p2 = (corners[:, k, :, None, None] for k in range(3))
    w1 = ((x - p0[:, 0]) * (p2[:, 1] - p0[:, 1]) - (y - p0[:, 1]) * (p2[:, 0] - p0[:, 0])) * scale
    w2 = ((p1[:, 0] - p0[:, 0]) * (y - p0[:, 1]) - (p1[:, 1] - p0[:, 1]) * (x - p0[:, 0])) * scale
    inside = (w1 >= -1e-4) & (w2 >= -1e-4) & (w1 + w2 <= 1 + 1e-4)
    inside &= (x > 0) & (x < width) & (y > 0) & (y < height)
    which, row, column = np.nonzero(inside)
    w1, w2 = w1[inside], w2[inside]
    pixel = (low[which, 1].astype(np.intp) + row) * width + low[which, 0].astype(np.intp) + column
    return which, pixel, np.stack([1 - w1 - w2, w1, w2], 1).astype(np.float32)
