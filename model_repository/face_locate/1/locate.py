"""Where the face is: one box, found once and then held, so that the temporal filter sees the face move and not the box.

The detector is BlazeFace (Bazarevsky et al. 2019); how it is called is the model's business: here it is a function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jpeg import NO_FACE, OK, RELOCATED, SEVERAL_FACES, UNDECODABLE, Header, decodes, inspect, thumbnail, tiny
from numpy.typing import NDArray

DETECTOR_SIDE_PX = 128
# IMAGE uint8 (n, 128, 128, 3) -> BOX float32 (n, 4) in units of the side, SCORE (n, 1), SECOND_SCORE (n, 1)
Detector = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Settings:
    """How faces are found and held; each value can be set in the model's configuration."""

    min_score: float = 0.5  # BlazeFace's own threshold
    min_second_score: float = 0.65  # one turned face alone reaches 0.41, upside down 0.64; a second one 0.93
    box_scale: float = 1.6  # detected box (brow to chin) to the square that the network sees (hair to collar)
    redetect_frames: int = 10  # a held box is checked again after so many frames
    same_face_iou: float = 0.3  # a check that overlaps the held box at least so much leaves the box where it is
    max_pixels: int = 64_000_000
    full_check: bool = False  # decode each frame once at 1/8 to see that it can be: for stages that fail batches whole


@dataclass
class Lock:
    """The box of one sequence. `box`: float32 (4,), x0, y0, x1, y1 px of the upright picture; None while not found."""

    box: NDArray[np.float32] | None = None
    header: Header | None = None  # of the picture that the box belongs to
    several: bool = False
    age_frames: int = 0
    ever_found: bool = False


@dataclass
class Located:
    """What becomes of one frame. `checked`: uint8 (bytes,), the frame itself or, where it is not scored, a small valid
    JPEG; `box`: float32 (4,), zeros while there is no face."""

    checked: NDArray[np.uint8]
    box: NDArray[np.float32]
    status: int


@dataclass
class Locator:
    """Finds or holds the face of each frame of a batch, a lock a sequence."""

    settings: Settings
    detect: Detector
    placeholder: NDArray[np.uint8] = field(default_factory=tiny)

    def __call__(self, frames: Sequence[NDArray[np.uint8]], locks: Sequence[Lock]) -> list[Located]:
        """Locates one frame for each lock and moves the locks on; the detector runs once for all that need it.

        Args:
            frames: uint8 (bytes,) each, one JPEG.
            locks: as many, all different: the sequences that the frames belong to.
        """
        headers = [self._inspect(frame) for frame in frames]
        statuses = [header.status for header in headers]
        thumbnails = {}
        for i, (frame, header, lock) in enumerate(zip(frames, headers, locks, strict=True)):
            if header.status == OK and self._needs_detection(lock, header):
                small = thumbnail(frame, header, DETECTOR_SIDE_PX)
                if small is None:
                    statuses[i] = UNDECODABLE
                else:
                    thumbnails[i] = letterbox(small)
        if thumbnails:
            boxes, scores, seconds = self.detect(np.stack([image for image, _ in thumbnails.values()]))
            for k, (i, (_, square)) in enumerate(thumbnails.items()):
                found = None
                if scores[k, 0] >= self.settings.min_score:
                    found = square_box(unletterbox(boxes[k], square), headers[i], self.settings.box_scale)
                several = bool(seconds[k, 0] >= self.settings.min_second_score)
                statuses[i] = self._update(locks[i], found, headers[i], several)
        return [self._located(*each) for each in zip(frames, locks, statuses, strict=True)]

    def _inspect(self, frame: NDArray[np.uint8]) -> Header:
        header = inspect(frame, self.settings.max_pixels)
        if header.status == OK and self.settings.full_check and not decodes(frame):
            return Header(UNDECODABLE)
        return header

    def _needs_detection(self, lock: Lock, header: Header) -> bool:
        # A box is good for pictures of one size only: it may lie outside a smaller one.
        return lock.box is None or lock.header != header or lock.age_frames >= self.settings.redetect_frames

    def _update(self, lock: Lock, found: NDArray[np.float32] | None, header: Header, several: bool) -> int:
        """Takes a detector's answer into the lock. Returns the frame's STATUS."""
        if found is None:
            lock.box = None
            return NO_FACE
        lock.age_frames, lock.several = 0, several
        if lock.box is not None and lock.header == header and iou(lock.box, found) >= self.settings.same_face_iou:
            return OK
        status = RELOCATED if lock.ever_found else OK
        lock.box, lock.header, lock.ever_found = found, header, True
        return status

    def _located(self, frame: NDArray[np.uint8], lock: Lock, status: int) -> Located:
        box = np.zeros(4, np.float32) if lock.box is None else lock.box
        if status >= NO_FACE:
            return Located(self.placeholder, box, status)
        lock.age_frames += 1
        return Located(frame, box, status | (SEVERAL_FACES if lock.several else OK))


def letterbox(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Fits a picture uint8 (h, w, 3) into the detector's square, black around it.

    Returns: uint8 (128, 128, 3), and float32 (4,): the square's corners x0, y0, x1, y1 in shares of the picture.
    """
    height, width = picture.shape[:2]
    scale = DETECTOR_SIDE_PX / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (DETECTOR_SIDE_PX - w) // 2, (DETECTOR_SIDE_PX - h) // 2
    image = np.zeros((DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, 3), np.uint8)
    image[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    x0, y0 = -left / w, -top / h
    return image, np.array([x0, y0, x0 + DETECTOR_SIDE_PX / w, y0 + DETECTOR_SIDE_PX / h], np.float32)


def unletterbox(box: NDArray[np.float32], square: NDArray[np.float32]) -> NDArray[np.float32]:
    """Takes a box from shares of the detector's square to shares of the picture. Both float32 (4,)."""
    origin, side = square[[0, 1, 0, 1]], (square[2:] - square[:2])[[0, 1, 0, 1]]
    return (origin + box * side).astype(np.float32)


def square_box(box: NDArray[np.float32], picture: Header, scale: float) -> NDArray[np.float32]:
    """The square of whole pixels around a detected box, moved (and only then shrunk) to lie inside the picture.

    Args:
        box: float32 (4,), x0, y0, x1, y1 in shares of the picture.
        picture: says width and height in px.
        scale: side of the result to the box's longer side.
    Returns: float32 (4,), px.
    """
    width, height = picture.width, picture.height
    x0, y0, x1, y1 = box * np.array([width, height, width, height], np.float32)
    side = int(min(max(round(max(x1 - x0, y1 - y0) * scale), 2), width, height))
    left = int(np.clip(round((x0 + x1 - side) / 2), 0, width - side))
    top = int(np.clip(round((y0 + y1 - side) / 2), 0, height - side))
    return np.array([left, top, left + side, top + side], np.float32)


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(sides, 0)))
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return inter / (areas - inter) if areas > inter else 0.0
