# SPDX-License-Identifier: Apache-2.0
"""Decodes only the face's region of each JPEG (DALI) and resizes it to the network's input.

On a GPU DALI resizes too. On a CPU its resize costs more than the decode, so OpenCV does it, with filters that agree
with DALI's antialiased linear one to within half a grey level.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline

from eulernet_core.jpeg import JpegLimits, cheap_to_decode
from eulernet_core.status import NOT_SCORED, Status
from eulernet_core.tensors import FACE_SIDE_PX
from eulernet_serving.crop_pipelines import regions
from eulernet_serving.structured_logging import log_caught

_LOG = logging.getLogger(__name__)
Flags = TypeVar("Flags", np.int32, NDArray[np.int32])
LONGEST_SIDE = 65_535  # px, of a JPEG


@dataclass(frozen=True)
class CropSettings(JpegLimits):
    """`threads`: of DALI's decoder; `max_frames`: the most frames in one of its batches; and the limits of a JPEG,
    since a caller can send pictures to this stage past the one that locates the face."""

    threads: int = 1
    max_frames: int = 64


class Cropper:
    """Crops batches of frames; a frame that can't be decoded is marked and leaves the others unharmed."""

    def __init__(self, settings: CropSettings) -> None:
        cv2.setNumThreads(1)
        self._settings = settings
        self._pipeline = self._build()

    def _build(self) -> Pipeline:
        pipeline = regions(
            batch_size=self._settings.max_frames,
            num_threads=self._settings.threads,
            device_id=None,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
        )
        pipeline.build()
        return pipeline

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
        fits = np.array([box_fits(boxes[i]) and cheap_to_decode(encoded[i], self._settings) for i in wanted], bool)
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

    def _crop(
        self,
        encoded: Sequence[NDArray[np.uint8]],
        boxes: Sequence[NDArray[np.float32]],
        indices: Sequence[int] | NDArray[np.intp],
        faces: NDArray[np.uint8],
    ) -> None:
        self._pipeline.feed_input("ENCODED", [encoded[i] for i in indices])
        self._pipeline.feed_input("BOX", [boxes[i].astype(np.int32) for i in indices])
        (pictures,) = self._pipeline.run()
        for k, i in enumerate(indices):
            picture = np.asarray(pictures[k])
            shrinks = picture.shape[0] > FACE_SIDE_PX
            filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            cv2.resize(picture, (FACE_SIDE_PX, FACE_SIDE_PX), dst=faces[i], interpolation=filter_)

    def _crop_singly(
        self,
        encoded: Sequence[NDArray[np.uint8]],
        boxes: Sequence[NDArray[np.float32]],
        indices: NDArray[np.intp],
        faces: NDArray[np.uint8],
        status: NDArray[np.int32],
    ) -> None:
        # DALI fails a batch whole without naming the frame, and its pipeline can't be used afterwards.
        self._pipeline = self._build()
        for i in indices:
            try:
                self._crop(encoded, boxes, [i], faces)
            except Exception as error:
                log_caught(_LOG, "frame can't be cropped", error)
                self._pipeline = self._build()
                status[i] = undecodable(status[i])


def undecodable(status: Flags) -> Flags:
    """Of what the frame was, RELOCATED stays: the filter restarts although this frame has no crop."""
    return (status & Status.RELOCATED) | Status.UNDECODABLE


def box_fits(box: NDArray[np.float32]) -> bool:
    """Whether the box can lie in a picture; DALI checks the picture's own sides."""
    return bool(np.isfinite(box).all() and box.min() >= 0 and box.max() <= LONGEST_SIDE and (box[2:] > box[:2]).all())
