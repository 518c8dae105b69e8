# SPDX-License-Identifier: Apache-2.0
"""Decodes the face's region of each JPEG and resizes it to the network's input, on a CPU.

On a GPU DALI does both. OpenCV's filters here agree with its antialiased linear one to within a grey level in the mean.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.jpeg import JpegLimits, cheap_to_decode
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving.core_shares import OPENCV_THREADS, decoder_threads
from eulernet_serving.face_resizing import resize_face
from eulernet_serving.region_decoding import decode_region
from eulernet_serving.structured_logging import log_caught

_LOG = logging.getLogger(__name__)
Flags = TypeVar("Flags", np.int32, NDArray[np.int32])
LONGEST_SIDE = 65_535  # px, of a JPEG


@dataclass(frozen=True)
class CropSettings(JpegLimits):
    """`threads`: that decode and resize, 0 for all cores; `max_frames`: the most frames in one of DALI's
    batches on a GPU; and the limits of a JPEG."""

    threads: int = 1
    max_frames: int = 64


class Cropper:
    """Crops frames; a frame that can't be decoded is marked and leaves the others unharmed.

    Args:
        settings: limits of a JPEG, threads.
        inspected: whether the caller has compared each JPEG with its limits (`eulernet_core.jpeg.inspect`). Else it is
            done here: a caller of the service can reach a stage that only crops past the one that locates.
    """

    def __init__(self, settings: CropSettings, *, inspected: bool = False) -> None:
        cv2.setNumThreads(OPENCV_THREADS)
        self._settings, self._inspected = settings, inspected
        threads = decoder_threads(settings.threads)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __call__(
        self, encoded: Sequence[NDArray[np.uint8]], boxes: Sequence[NDArray[np.float32]], status: NDArray[np.int32]
    ) -> NDArray[np.uint8]:
        """Crops each frame with a usable STATUS; writes UNDECODABLE into `status` where that fails.

        Args:
            encoded: n times uint8 (bytes,), a JPEG.
            boxes: n times float32 (4,), x0, y0, x1, y1 px inside the upright picture.
            status: int32 (n,), changed in place.
        Returns: uint8 (n, 256, 256, 3) RGB, black where there is nothing to score.
        """
        faces = np.zeros((len(encoded), FACE_SIDE_PX, FACE_SIDE_PX, 3), np.uint8)

        def crop(i: int) -> None:
            try:
                if self._usable(encoded[i], boxes[i]):
                    resize_face(decode_region(encoded[i], boxes[i]), faces[i])
                    return
            except Exception as error:
                log_caught(_LOG, "frame can't be cropped", error)
            status[i] = undecodable(status[i])

        wanted = np.flatnonzero((status & NOT_SCORED) == 0).tolist()
        for _ in (map if self._pool is None else self._pool.map)(crop, wanted):
            pass
        return faces

    def _usable(self, encoded: NDArray[np.uint8], box: NDArray[np.float32]) -> bool:
        return box_fits(box) and (self._inspected or cheap_to_decode(encoded, self._settings))


def undecodable(status: Flags) -> Flags:
    """Of what the frame was, RELOCATED stays: the filter restarts although this frame has no crop."""
    return (status & Status.RELOCATED) | Status.UNDECODABLE


def box_fits(box: NDArray[np.float32]) -> bool:
    """Whether the box can lie in a picture; the decoder checks the picture's own sides."""
    return bool(np.isfinite(box).all() and box.min() >= 0 and box.max() <= LONGEST_SIDE and (box[2:] > box[:2]).all())
