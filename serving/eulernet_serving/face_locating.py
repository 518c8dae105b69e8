# SPDX-License-Identifier: Apache-2.0
"""Finds the face once and then holds its box, so that the temporal filter sees the face move and not the box.

The detector is BlazeFace (Bazarevsky et al. 2019); the caller passes it as a function.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core import face_box
from eulernet_core.face_box import BOX_SCALE, DETECTOR_SIDE_PX, MIN_SCORE, iou, square_box, unletterbox_box
from eulernet_core.jpeg import Header, JpegLimits, inspect
from eulernet_core.limits import MIN_FACE_PX
from eulernet_core.status import Status
from eulernet_serving.jpeg_decoding import decodes, thumbnail, tiny_jpeg
from eulernet_serving.structured_logging import log_caught

_LOG = logging.getLogger(__name__)
SAMPLE_STEP = 16  # every so many bytes of a JPEG tell whether it equals the one before

# IMAGE uint8 (n, 128, 128, 3) -> BOX float32 (n, 4) in units of the side, SCORE (n, 1), SECOND_SCORE (n, 1)
Detector = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class LocateSettings(JpegLimits):
    """How faces are found and held, and the limits of a JPEG; each value can be set in the model's configuration.

    Attributes:
        min_score: the detector's lowest score for a face.
        min_second_score: the lowest score of a second face. One turned face alone reaches 0.41, upside down 0.64;
            a second face 0.93.
        box_scale: side of the square that the network sees to the longer side of the detected box.
        redetect_frames: a held box is checked again after so many frames.
        same_face_iou: a check whose box overlaps the held one at least so much leaves the held box in place.
        min_face_px: a box with a shorter side gets SMALL_FACE; 0: none does.
        full_check: decode each frame once at 1/8 to test it, for stages that fail a batch whole.
        count_frames: count frames by STATUS here, where no later stage is a Python model that counts them.
    """

    min_score: float = MIN_SCORE
    min_second_score: float = 0.65
    box_scale: float = BOX_SCALE
    redetect_frames: int = 10
    same_face_iou: float = 0.3
    min_face_px: int = MIN_FACE_PX
    full_check: bool = False
    count_frames: bool = False


@dataclass
class Lock:
    """The box of one sequence. `box`: float32 (4,), x0, y0, x1, y1 px of the upright picture; None while not found."""

    box: NDArray[np.float32] | None = None
    header: Header | None = None  # of the picture that the box belongs to
    several: bool = False
    age_frames: int = 0
    ever_found: bool = False
    picture: tuple[int, int] = (0, 0)  # length and hash of the last whole frame


@dataclass
class Located:
    """The result for one frame. `checked`: uint8 (bytes,), the frame itself or, if it is not scored, a small valid
    JPEG; `box`: float32 (4,), zeros while there is no face."""

    checked: NDArray[np.uint8]
    box: NDArray[np.float32]
    status: int


@dataclass
class Locator:
    """Finds or holds the face of each frame of a batch, one lock a sequence."""

    settings: LocateSettings
    detect: Detector
    placeholder: NDArray[np.uint8] = field(default_factory=tiny_jpeg)

    def __call__(self, frames: Sequence[NDArray[np.uint8]], locks: Sequence[Lock]) -> list[Located]:
        """Locates one frame for each lock and advances the locks; the detector runs once for all that need it.

        Args:
            frames: uint8 (bytes,) each, one JPEG.
            locks: as many, all different: the sequences that the frames belong to.
        """
        inspected = [self._inspect(frame) for frame in frames]
        headers = [header for header, _ in inspected]
        statuses = [int(header.status) for header in headers]
        thumbnails = {}
        for i, ((header, picture), lock) in enumerate(zip(inspected, locks, strict=True)):
            if header.status == Status.OK and self._needs_detection(lock, header):
                small = self._thumbnail(picture, header)
                if small is None:
                    statuses[i] = Status.UNDECODABLE
                else:
                    thumbnails[i] = letterbox(small)
        if thumbnails:
            boxes, scores, seconds = self.detect(np.stack([image for image, _ in thumbnails.values()]))
            for k, (i, (_, square)) in enumerate(thumbnails.items()):
                found = None
                if scores[k, 0] >= self.settings.min_score and np.isfinite(boxes[k]).all():
                    share = unletterbox_box(boxes[k], square)
                    found = square_box(share, headers[i].width, headers[i].height, self.settings.box_scale)
                several = bool(seconds[k, 0] >= self.settings.min_second_score)
                statuses[i] = self._update(locks[i], found, headers[i], several)
        pictures = [picture for _, picture in inspected]
        return [self._located(*each) for each in zip(pictures, locks, statuses, strict=True)]

    def _inspect(self, frame: NDArray[np.uint8]) -> tuple[Header, NDArray[np.uint8]]:
        """Never raises: whatever is wrong with a frame is an answer to this frame."""
        try:
            header, picture = inspect(frame, self.settings)
            if header.status != Status.OK or not self.settings.full_check or decodes(picture):
                return header, picture
        except Exception as error:
            log_caught(_LOG, "frame can't be read", error)
        return Header(Status.UNDECODABLE), self.placeholder

    @staticmethod
    def _thumbnail(picture: NDArray[np.uint8], header: Header) -> NDArray[np.uint8] | None:
        try:
            return thumbnail(picture, header, DETECTOR_SIDE_PX)
        except Exception as error:
            log_caught(_LOG, "frame can't be decoded", error)
            return None

    def _needs_detection(self, lock: Lock, header: Header) -> bool:
        # A box fits pictures of one size only: it may lie outside a smaller one.
        return lock.box is None or lock.header != header or lock.age_frames >= self.settings.redetect_frames

    def _update(self, lock: Lock, found: NDArray[np.float32] | None, header: Header, several: bool) -> int:
        """Stores a detection in the lock. Returns the frame's STATUS."""
        if found is None:
            lock.box = None
            return Status.NO_FACE
        lock.age_frames, lock.several = 0, several
        if lock.box is not None and lock.header == header and iou(lock.box, found) >= self.settings.same_face_iou:
            return Status.OK
        status = Status.RELOCATED if lock.ever_found else Status.OK
        lock.box, lock.header, lock.ever_found = found, header, True
        return status

    def _located(self, picture: NDArray[np.uint8], lock: Lock, status: int) -> Located:
        box = np.zeros(4, np.float32) if lock.box is None else lock.box
        if not Status(status).usable:
            return Located(self.placeholder, box, int(status))
        lock.age_frames += 1
        flags = Status(status)
        if lock.several:
            flags |= Status.SEVERAL_FACES
        if box[2] - box[0] < self.settings.min_face_px:
            flags |= Status.SMALL_FACE
        before, lock.picture = lock.picture, (len(picture), hash(picture[::SAMPLE_STEP].tobytes()))
        if before == lock.picture:
            flags |= Status.REPEATED
        return Located(picture, box, int(flags))


def shrink(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes uint8 (H, W, 3) to (width, height) px by area."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def letterbox(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Fits a picture into the detector's square; see `eulernet_core.face_box.letterbox`."""
    return face_box.letterbox(picture, shrink)
