# SPDX-License-Identifier: Apache-2.0
"""Decodes only the face's region of each JPEG (DALI) and resizes it to the network's input.

On a GPU DALI resizes too. On a CPU its resize costs more than the decode, so OpenCV does it, with filters that agree
with DALI's antialiased linear one to within a grey level in the mean.
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
from eulernet_serving.region_decoding import RegionDecoder
from eulernet_serving.structured_logging import log_caught

_LOG = logging.getLogger(__name__)
Flags = TypeVar("Flags", np.int32, NDArray[np.int32])
LONGEST_SIDE = 65_535  # px, of a JPEG


@dataclass(frozen=True)
class CropSettings(JpegLimits):
    """`threads`: that decode and resize, 0 for all cores; `max_frames`: the most frames in one of DALI's
    batches; and the limits of a JPEG."""

    threads: int = 1
    max_frames: int = 64


class Cropper:
    """Crops batches of frames; a frame that can't be decoded is marked and leaves the others unharmed.

    Args:
        settings: limits of a JPEG, threads, largest batch.
        inspected: whether the caller has compared each JPEG with its limits (`eulernet_core.jpeg.inspect`). Else it is
            done here: a caller of the service can reach a stage that only crops past the one that locates.
    """

    def __init__(self, settings: CropSettings, *, inspected: bool = False) -> None:
        cv2.setNumThreads(OPENCV_THREADS)
        self._settings, self._inspected = settings, inspected
        self._threads = decoder_threads(settings.threads)
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._decode = self._make_decoder()

    def _make_decoder(self) -> RegionDecoder:
        return RegionDecoder(self._settings.max_frames, self._threads)

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
        wanted = np.flatnonzero((status & NOT_SCORED) == 0)
        fits = np.array([self._usable(encoded[i], boxes[i]) for i in wanted], bool)
        status[wanted[~fits]] = undecodable(status[wanted[~fits]])
        wanted = wanted[fits]
        for first in range(0, len(wanted), self._settings.max_frames):
            part = wanted[first : first + self._settings.max_frames]
            try:
                self._crop(encoded, boxes, part, faces)
            except Exception as error:
                log_caught(_LOG, "batch of crops failed, its frames are tried one by one", error)
                self._crop_singly(encoded, boxes, part, faces, status)
        return faces

    def _usable(self, encoded: NDArray[np.uint8], box: NDArray[np.float32]) -> bool:
        return box_fits(box) and (self._inspected or cheap_to_decode(encoded, self._settings))

    def _crop(
        self,
        encoded: Sequence[NDArray[np.uint8]],
        boxes: Sequence[NDArray[np.float32]],
        indices: Sequence[int] | NDArray[np.intp],
        faces: NDArray[np.uint8],
    ) -> None:
        regions = self._decode([encoded[i] for i in indices], [boxes[i].astype(np.int32) for i in indices])

        def resize(k: int) -> None:
            resize_face(regions[k], faces[indices[k]])

        for _ in (map if self._pool is None else self._pool.map)(resize, range(len(indices))):
            pass

    def _crop_singly(
        self,
        encoded: Sequence[NDArray[np.uint8]],
        boxes: Sequence[NDArray[np.float32]],
        indices: NDArray[np.intp],
        faces: NDArray[np.uint8],
        status: NDArray[np.int32],
    ) -> None:
        # DALI fails a batch whole without naming the frame, and its pipeline can't be used afterwards.
        self._decode = self._make_decoder()
        for i in indices:
            try:
                self._crop(encoded, boxes, [i], faces)
            except Exception as error:
                log_caught(_LOG, "frame can't be cropped", error)
                self._decode = self._make_decoder()
                status[i] = undecodable(status[i])


def undecodable(status: Flags) -> Flags:
    """Of what the frame was, RELOCATED stays: the filter restarts although this frame has no crop."""
    return (status & Status.RELOCATED) | Status.UNDECODABLE


def box_fits(box: NDArray[np.float32]) -> bool:
    """Whether the box can lie in a picture; DALI checks the picture's own sides."""
    return bool(np.isfinite(box).all() and box.min() >= 0 and box.max() <= LONGEST_SIDE and (box[2:] > box[:2]).all())
