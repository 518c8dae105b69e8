# SPDX-License-Identifier: Apache-2.0
"""Reads the clips of videos and of folders of frames: 4 frames, 0.1 s apart, each frame one JPEG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from eulernet_client.errors import TooLargeError
from eulernet_client.media_kinds import JPEG_SUFFIXES, FolderFrames, folder_frames, is_animated_webp
from eulernet_client.source_search import find_sources, search_sources
from eulernet_core.clip_geometry import clip_indices, clip_starts, gather_clips, too_few_frames
from eulernet_core.errors import EmptyFolderError, TooFewFramesError
from eulernet_core.limits import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["SourceClip", "SourceFrame", "find_sources", "frame_jpeg", "iter_clips", "search_sources"]

REPEATED_PICTURES = "a clip has the same picture more than once: the video is frozen, or its frames are repeated"


@dataclass(frozen=True)
class SourceFrame:
    """One picture. `index`: its number in the source, from 0; `name`: its name in error messages."""

    index: int
    name: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class SourceClip:
    """The frames of one clip.

    Attributes:
        number: its number among the source's clips, from 0.
        frames: in order.
        warnings: notes about the frames' times and files; the same text for the same note about another clip.
    """

    number: int
    frames: tuple[SourceFrame, ...]
    warnings: tuple[str, ...] = ()

    @property
    def jpegs(self) -> list[bytes]:
        """The frames' bytes."""
        return [frame.jpeg for frame in self.frames]


def iter_clips(path: str | Path, clips: int = 1, threads: int = 0, at_keyframes: bool = False) -> Iterator[SourceClip]:
    """Reads the clips of a video file or a folder of frames, one at a time.

    Args:
        path: a video, or a folder whose pictures (see FRAME_KINDS), in natural order of their names, are the frames of
            a video with 30 frames/s.
        clips: how many, spread evenly; a single clip is taken from the middle.
        threads: of a video's decoder, 0 for as many as FFmpeg likes.
        at_keyframes: begin a video's clips at keyframes near their places, which takes less decoding; see
            `eulernet_core.clip_geometry.timed_clips`.

    Raises:
        MediaError: says why the source gives no clip, and the remedy.
        TooLargeError: a picture that is not a JPEG is over the server's pixel limit.
    """
    from eulernet_core.video import named_errors

    path = Path(path)
    with named_errors(path):
        yield from (_folder_clips(path, clips) if path.is_dir() else _video_clips(path, clips, threads, at_keyframes))


def _video_clips(path: Path, clips: int, threads: int, at_keyframes: bool) -> Iterator[SourceClip]:
    from eulernet_client.picture_encoding import levels, same_levels
    from eulernet_core.jpeg import encode_jpeg
    from eulernet_core.video import read_clips, upright

    def encoded(picture: npt.NDArray[np.uint8]) -> tuple[bytes, npt.NDArray[np.float32]]:
        return encode_jpeg(picture), levels(picture)

    if is_animated_webp(path):
        from eulernet_client.animated_webp import animation_clips

        found = animation_clips(path, clips, encoded)
    else:
        found = read_clips(
            path, clips, lambda frame: encoded(upright(frame)), threads=threads, at_keyframes=at_keyframes
        )
    for clip in found:
        repeated = any(same_levels(a, b) for (_, a), (_, b) in pairwise(clip.items))
        frames = (SourceFrame(i, f"frame {i}", jpeg) for i, (jpeg, _) in zip(clip.indices, clip.items, strict=True))
        yield _clip(clip.number, frames, clip.warning, REPEATED_PICTURES if repeated else "")


def _folder_clips(folder: Path, clips: int) -> Iterator[SourceClip]:
    frames = folder_frames(folder)
    files = frames.files
    if not files:
        raise EmptyFolderError(
            f"{folder}: no picture in this folder; put the frames there as frame0.jpg, frame1.jpg, … or name a video"
        )
    starts = clip_starts(len(files), clips)
    if not starts:
        raise TooFewFramesError(f"{folder}: {too_few_frames(len(files))}")
    plan = [clip_indices(start) for start in starts]
    wanted = sorted({index for indices in plan for index in indices})
    notes = _folder_notes(frames)
    for clip in gather_clips(plan, ((index, frame_jpeg(files[index], str(folder), index)) for index in wanted)):
        repeated = any(a == b for a, b in pairwise(clip.items))
        items = zip(clip.indices, clip.items, strict=True)
        named = (SourceFrame(i, f"frame {i} ({files[i].name})", jpeg) for i, jpeg in items)
        yield _clip(clip.number, named, *notes, REPEATED_PICTURES if repeated else "")


def _folder_notes(frames: FolderFrames) -> list[str]:
    from eulernet_core.jpeg import QUALITY

    notes = []
    if frames.kind != "JPEG":
        notes.append(f"the {frames.kind} frames were encoded as JPEG, quality {QUALITY}")
    if frames.others:
        count = len(frames.files)
        notes.append(f"the folder has several types of picture: {count} {frames.kind} taken, {len(frames.others)} not")
    return notes


def frame_jpeg(file: Path, folder: str = "", index: int = 0) -> bytes:
    """The bytes to send for a frame: those of a JPEG as they are, another picture encoded, upright, at high quality.

    A picture that can't be decoded is sent as it is: the server answers UNDECODABLE for this frame alone.

    Raises:
        TooLargeError: a picture to encode is over the server's pixel limit; names `folder` and `index`.
        OSError: as the system raises it.
    """
    data = file.read_bytes()
    if file.suffix.lower() in JPEG_SUFFIXES:
        return data  # the server applies the EXIF orientation
    from eulernet_client.picture_encoding import encoded_as_jpeg, pixels

    size = pixels(data)
    if size > MAX_PIXELS:
        raise TooLargeError(
            f"{folder}: {file.name}: {size:,} pixels, the limit is {MAX_PIXELS:,}; scale it down",
            path=folder,
            index=index,
        )
    return encoded_as_jpeg(data)


def _clip(number: int, frames: Iterable[SourceFrame], *notes: str) -> SourceClip:
    return SourceClip(number, tuple(frames), tuple(note for note in notes if note))
