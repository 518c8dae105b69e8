# SPDX-License-Identifier: Apache-2.0
"""The part of a picture that a MiniFASNet sees; without torch, so that a server can use it."""

import numpy as np
from numpy.typing import NDArray


def window(box: NDArray[np.float32], scale: float, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (the last two excluded) of the crop around a box, px.

    The crop is `scale` times the box about its centre. The scale is reduced until the crop fits into the picture; then
    the crop is shifted into the picture, not padded.

    Args:
        box: float32 (4,), x0, y0, x1, y1 px.
        scale: see `eulernet.peers.minifasnet.Member`.
        height: of the picture, pixels.
        width: of the picture, pixels.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box)
    box_w, box_h = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    scale = min((height - 1) / box_h, (width - 1) / box_w, scale)
    w, h = box_w * scale, box_h * scale
    left = min(max((x0 + x1) / 2 - w / 2, 0.0), width - 1 - w)
    top = min(max((y0 + y1) / 2 - h / 2, 0.0), height - 1 - h)
    return int(left), int(top), int(left + w) + 1, int(top + h) + 1
