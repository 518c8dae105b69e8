"""The face of a video's clip, cut out as for training and as in the service: one box, that of its first frame."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.video import FRAMES, INTERVAL, Clip, VideoError, map_clips, read_frames
from eulernet.faces import FaceFinder, crop

SPAN = (FRAMES - 1) * INTERVAL + 1


@dataclass(frozen=True)
class FaceClip:
    """`clip` as read, and box_px: fp32 (4,), x0, y0, x1, y1, the square around the face of its first frame."""

    clip: Clip
    box_px: NDArray[np.float32]

    def crops(self, size_px: int) -> NDArray[np.uint8]:
        """uint8 (T, size_px, size_px, 3), RGB."""
        return np.stack([crop(picture, self.box_px, size_px) for picture in self.clip.pictures])


def face_clip(path: Path, finder: FaceFinder, start: int | None = None) -> FaceClip:
    """The clip from frame `start`, or the one in the middle.

    Raises:
        VideoError: the video can't be read, is too short or changes its size, or shows no face where the clip starts.
    """
    clip = map_clips(path, 1, lambda each: each)[0] if start is None else _clip_at(path, start)
    if len({picture.shape for picture in clip.pictures}) > 1:
        raise VideoError(f"{path}: the picture changes its size after frame {clip.start}; choose another --start")
    face = finder.find(clip.pictures[0])
    if face is None:
        remedy = "it must take 15 % of the width; choose another --start or video"
        raise VideoError(f"{path}: no face in frame {clip.start}; {remedy}")
    return FaceClip(clip, face.box_px)


def _clip_at(path: Path, start: int) -> Clip:
    pictures = list(islice(read_frames(path), start, start + SPAN, INTERVAL))
    if len(pictures) < FRAMES:
        needed = f"a clip from frame {start} needs {start + SPAN} ({FRAMES} frames, every {INTERVAL}rd)"
        raise VideoError(f"{path}: too few frames, {needed}; choose an earlier --start")
    return Clip(start, pictures)
