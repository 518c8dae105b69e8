# SPDX-License-Identifier: Apache-2.0
"""How much fine structure a face crop has left after compression, blur and enlargement.

With X the sum of the three channels, P its means over 4x4 px and box() the mean of 3x3 px, the detail is

    mean |X - box(X)| / mean |P - box(P)|

the structure of one level of a picture pyramid divided by that of the second coarser one (Burt and Adelson 1983).
Compression and blur remove the fine structure first. The contrast cancels out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MIN_DETAIL = 0.19  # of a crop, below which a score is marked with DEGRADED; measured by benchmarks.quality
COARSE = 4  # px of X for one of P, along a side
LEAST_STRUCTURE = 1e-6  # in place of no structure at all, so that a plain picture has the detail 0


def face_detail(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The detail of each crop, from 0 (plain) to about 1 (sharp).

    Args:
        faces: uint8 (N, H, W, 3), RGB; H and W multiples of 4, at least 12.
    Returns: float32 (N,).
    Raises: ValueError for another shape or type.
    """
    shape = faces.shape
    if faces.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or any(n % COARSE or n < 12 for n in shape[1:3]):
        raise ValueError(
            f"faces: {faces.dtype} {shape}; give uint8 (N, H, W, 3), H and W multiples of {COARSE} from 12 on"
        )
    fine = faces.sum(axis=3, dtype=np.float32)
    blocks = fine.reshape(len(faces), shape[1] // COARSE, COARSE, shape[2] // COARSE, COARSE)
    return np.asarray(_structure(fine) / np.maximum(_structure(blocks.mean(axis=(2, 4))), LEAST_STRUCTURE), np.float32)


def _structure(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean of |9 x - sum of the 3x3 px around x| over the px whose neighbours are all inside: (N, h, w) -> (N,)."""
    rows = picture[:, :-2] + picture[:, 1:-1] + picture[:, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return np.asarray(np.abs(9 * picture[:, 1:-1, 1:-1] - sums).mean(axis=(1, 2)), np.float32)
