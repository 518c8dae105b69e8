# SPDX-License-Identifier: Apache-2.0
"""Clips and frames of a video as upright RGB pictures.

The clips have the same positions as in the client, so that training and service see the same frames. Each video is
decoded on one thread, because several processes read videos at the same time.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_INTERVAL, Clip, timed_clip, timed_span
from eulernet_core.errors import TooFewFramesError
from eulernet_core.video import read_clips, read_frames, upright, video_times

Picture = NDArray[np.uint8]  # (H, W, 3), RGB
PictureClip = Clip[Picture]
_THREADS = 1


def picture_clips(
    path: Path, clips: int, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL
) -> Iterator[PictureClip]:
    """The clips of a video, one at a time. Raises: MediaError."""
    return read_clips(path, clips, upright, frames, interval, _THREADS)


def picture_frames(path: Path) -> Iterator[Picture]:
    """All frames of a video in order; one at a time is in memory. Raises: MediaError."""
    return read_frames(path, upright, _THREADS)


def clip_at(path: Path, start: int) -> PictureClip:
    """The clip that begins at frame `start`.

    Raises:
        MediaError: the video can't be read or ends before the clip does.
    """
    times = video_times(path, _THREADS)
    indices = timed_clip(times, start)
    frames = enumerate(islice(picture_frames(path), indices[-1] + 1)) if indices else ()
    pictures = tuple(picture for number, picture in frames if number in indices)
    if len(pictures) < CLIP_FRAMES:
        needed = start + timed_span(times)
        raise TooFewFramesError(
            f"{path}: a clip from frame {start} needs at least {needed} frames; choose an earlier start"
        )
    return Clip(0, indices, pictures)
