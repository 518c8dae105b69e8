"""Traffic of any frame size: JPEGs of one photographed face that drifts, of the same share at every size."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from eulernet_client.loadtest.traffic import Source, Traffic
from numpy.typing import NDArray

QUALITY = 90
FACE_X_PX, FACE_Y_PX = 222.0, 125.0  # the middle of scikit-image's astronaut's face, in the photograph of 512x512
VIEW_PX = 400.0  # so much of the photograph's width is seen: the face fills a quarter of it
GRAIN = 2.0  # grey levels; an enlarged photograph without a sensor's noise would make JPEGs far too small
DRIFT = 0.004  # of the picture's width, a frame


def traffic(width: int, height: int, frames: int = 8, seed: int = 1) -> Traffic:
    """One source of `frames` JPEGs, `width` x `height` px, with a face that the detector finds in each."""
    from skimage.data import astronaut

    photograph: NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    random = np.random.default_rng(seed)
    return Traffic(
        (Source(f"{width}x{height}", tuple(_jpeg(photograph, width, height, t, random) for t in range(frames))),)
    )


def _jpeg(photograph: NDArray[np.uint8], width: int, height: int, number: int, random: np.random.Generator) -> bytes:
    """Frame `number`. `photograph`: uint8 (512, 512, 3) RGB."""
    scale = width / VIEW_PX
    top_px = max(0.0, FACE_Y_PX - height / scale / 2)
    move = np.array(
        [[scale, 0, width / 2 - scale * FACE_X_PX + DRIFT * width * number], [0, scale, -scale * top_px]], np.float32
    )
    picture = cv2.warpAffine(photograph, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    grain = GRAIN * random.standard_normal((height, width, 1), np.float32)
    noisy = np.clip(picture + grain, 0, 255).astype(np.uint8)
    encoded: bytes = simplejpeg.encode_jpeg(noisy, quality=QUALITY, colorsubsampling="420")
    return encoded
