# SPDX-License-Identifier: Apache-2.0
"""Clips of animated WebP files, which FFmpeg does not read; Pillow does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from eulernet_core.clip_geometry import Clip, gather_clips, spacing_warning, timed_clips, too_short
from eulernet_core.errors import NotAVideoError, TooFewFramesError

if TYPE_CHECKING:
    import numpy.typing as npt

T = TypeVar("T")


def animation_clips(path: Path, clips: int, convert: Callable[[npt.NDArray[np.uint8]], T]) -> Iterator[Clip[T]]:
    """The clips of an animation, one at a time, as `eulernet_core.video.read_clips` gives those of a video.

    Args:
        path: an animated WebP file.
        clips: how many, spread evenly.
        convert: makes an item of a picture uint8 (H, W, 3), RGB.
    Raises:
        NotAVideoError: the file is damaged.
        TooFewFramesError: it is shorter than a clip.
        OSError: as the system raises it.
    """
    times = [time for time, _ in _frames(path)]
    plan = timed_clips(times, clips)
    if not plan:
        raise TooFewFramesError(f"{path}: {too_short(times)}")
    wanted = {index for indices in plan for index in indices}
    frames = enumerate(_frames(path))
    items = ((i, convert(np.asarray(image.convert("RGB")))) for i, (_, image) in frames if i in wanted)
    for clip in gather_clips(plan, items):
        yield replace(clip, warning=spacing_warning(clip.indices, [times[index] for index in clip.indices]))


def _frames(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """Each frame with its time, s. The image is valid until the next frame."""
    data = io.BytesIO(path.read_bytes())
    try:
        with Image.open(data, formats=["WEBP"]) as image:
            last = -1.0
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                time = image.info.get("timestamp", 0) / 1000
                last = time if time > last else last + 0.001  # a frame of no duration
                yield last, image
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise NotAVideoError(f"{path}: a damaged WebP animation ({error}); export it again as MP4") from error
