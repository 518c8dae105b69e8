# SPDX-License-Identifier: Apache-2.0
"""`eulernet_core.face_detail` in torch, for the exported graphs: sets DEGRADED in STATUS.

Sums of shifted pictures are no convolutions, which the fp16 and int8 variants change, so they stay in float32. They add
pixels from 0 to 255: these sums are exact in every runtime.
"""

import torch
from torch import Tensor

from eulernet.network import UNUSABLE, USE_PERIOD
from eulernet_core.face_detail import COARSE, LEAST_STRUCTURE, MIN_DETAIL
from eulernet_core.status import Status

# Remainders test single bits in operators that every runtime has, as in `eulernet.network`.
DEGRADED, DEGRADED_PERIOD = int(Status.DEGRADED), 2 * int(Status.DEGRADED)


def with_degraded(status: Tensor, faces: Tensor) -> Tensor:
    """STATUS with DEGRADED added at usable frames of little detail. A flag that the caller set stays.

    Args:
        status: int32 (N, T).
        faces: uint8 (N, T, H, W, 3), or (N, H, W, 3) where T is 1; H and W multiples of 4, at least 12.
    """
    usable, unmarked = status % USE_PERIOD < UNUSABLE, status % DEGRADED_PERIOD < DEGRADED
    low = lacks_detail(faces).reshape(-1, status.shape[1])
    return torch.where(usable & unmarked & low, status + DEGRADED, status)


def lacks_detail(faces: Tensor) -> Tensor:
    """Whether the detail is below MIN_DETAIL.

    uint8 (..., H, W, 3) to bool (M,), M: product of the leading dimensions.
    """
    height, width = faces.shape[-3:-1]
    fine = faces.float().reshape(-1, height, width, 3).permute(0, 3, 1, 2).sum(dim=1)
    # First over rows, then over columns: OpenVINO takes a third of the time, and quarters of sums are exact.
    rows = fine.reshape(-1, height // COARSE, COARSE, width).mean(dim=2)
    coarse = rows.reshape(-1, height // COARSE, width // COARSE, COARSE).mean(dim=3)
    return _structure(fine) < MIN_DETAIL * _structure(coarse).clamp(min=LEAST_STRUCTURE)


def _structure(picture: Tensor) -> Tensor:
    """Mean of |9 x - sum of the 3x3 px around x| over the px whose neighbours are all inside: (M, h, w) to (M,)."""
    rows = picture[:, :-2] + picture[:, 1:-1] + picture[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (9 * picture[:, 1:-1, 1:-1] - sums).abs().mean(dim=(1, 2))
