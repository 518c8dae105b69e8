# SPDX-License-Identifier: Apache-2.0
"""The face crops of one clip of a video, as in training and in the service: one box, found in the first frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.clip_pictures import PictureClip, clip_at, picture_clips
from eulernet.faces import FaceFinder, crop
from eulernet_core.errors import MediaError
from eulernet_core.limits import FACE_TOO_SMALL


class UnusableClipError(MediaError):
    """The clip's frames differ in size, or its first frame has no face."""


@dataclass(frozen=True)
class FaceClip:
    """A clip, and box_px: fp32 (4,), x0, y0, x1, y1, the square around the face of its first frame."""

    clip: PictureClip
    box_px: NDArray[np.float32]

    @property
    def start(self) -> int:
        """Number of the first frame."""
        return self.clip.indices[0]

    def crops(self, size_px: int) -> NDArray[np.uint8]:
        """uint8 (T, size_px, size_px, 3), RGB."""
        return np.stack([crop(picture, self.box_px, size_px) for picture in self.clip.items])


def face_clip(path: Path, finder: FaceFinder, start: int | None = None) -> FaceClip:
    """The clip from frame `start`, or the middle one.

    Raises:
        MediaError: the video can't be read, is too short or changes its size, or the clip's first frame has no face.
    """
    clip = next(picture_clips(path, 1)) if start is None else clip_at(path, start)
    if len({picture.shape for picture in clip.items}) > 1:
        raise UnusableClipError(f"{path}: the frame size changes after frame {clip.indices[0]}; choose another --start")
    face = finder.find(clip.items[0])
    if face is None:
        remedy = f"{FACE_TOO_SMALL}; choose another --start or video"
        raise UnusableClipError(f"{path}: no face in frame {clip.indices[0]}: {remedy}")
    return FaceClip(clip, face.box_px)
