# SPDX-License-Identifier: Apache-2.0
"""Draws a triangle mesh onto a small grid with a z-buffer (Catmull 1974), all triangles at once."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_EDGE = 1e-5  # a sample on a common edge belongs to both triangles, so that rounding leaves no gap


def rasterise(points: Floats, values: Floats, triangles: NDArray[np.int64], size: int, oversample: int = 4) -> Floats:
    """The mean over each cell of the values of the visible surface; samples without surface count as 0.

    Args:
        points: fp32 (n, 3): x, y in cells of the grid, whose corners are (0, 0) and (size, size); z, smaller is nearer.
        values: fp32 (n, k), at the points; linear between them.
        triangles: int64 (m, 3), wound either way.
        size: side of the grid in cells.
        oversample: samples per side of a cell.
    Returns: fp32 (k, size, size).
    """
    side = size * oversample
    # Shifted so that the samples, the middles of their squares, have whole coordinates.
    xy = points[:, :2] * np.float32(oversample) - np.float32(0.5)
    corners = xy[triangles]  # (m, 3, 2)
    first = np.clip(np.ceil(corners.min(axis=1)), 0, side).astype(np.int32)
    last = np.clip(np.floor(corners.max(axis=1)), -1, side - 1).astype(np.int32)
    extent = np.maximum(last - first + 1, 0)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    count = np.where(area != 0, extent[:, 0] * extent[:, 1], 0)

    # A row for each sample in the bounding rectangle of each triangle.
    which = np.repeat(np.arange(len(triangles), dtype=np.int32), count)
    within = np.arange(len(which), dtype=np.int32) - np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    down, across = np.divmod(within, extent[which, 0])
    # Barycentric weights of the second and the third corner: linear in the steps from the rectangle's first sample.
    safe = np.where(area != 0, area, 1)[:, None]
    start = first - corners[:, 0]
    b_step, c_step = np.stack([v[:, 1], -v[:, 0]], axis=1) / safe, np.stack([-u[:, 1], u[:, 0]], axis=1) / safe
    b = (start * b_step).sum(axis=1)[which] + across * b_step[which, 0] + down * b_step[which, 1]
    c = (start * c_step).sum(axis=1)[which] + across * c_step[which, 0] + down * c_step[which, 1]
    inside = np.flatnonzero((b >= -_EDGE) & (c >= -_EDGE) & (b + c <= 1 + _EDGE))

    which, b, c = which[inside], b[inside, None], c[inside, None]
    place = (first[which, 1] + down[inside]) * side + first[which, 0] + across[inside]
    carried = np.concatenate([points[:, 2:], values], axis=1)[triangles]  # (m, 3, 1 + k)
    base, to_b, to_c = carried[:, 0], carried[:, 1] - carried[:, 0], carried[:, 2] - carried[:, 0]
    at = base[which] + b * to_b[which] + c * to_c[which]
    # The last of several assignments to a place is kept: the nearest.
    order = np.argsort(-at[:, 0], kind="stable")
    seen = np.zeros((side * side, values.shape[1]), np.float32)
    seen[place[order]] = at[order, 1:]
    cells = seen.reshape(size, oversample, size, oversample, -1).mean(axis=(1, 3))
    return np.ascontiguousarray(cells.transpose(2, 0, 1), np.float32)
