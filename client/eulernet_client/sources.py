# SPDX-License-Identifier: Apache-2.0
"""Finds videos and folders of JPEGs, and reads their clips: 4 frames, every 3rd source frame, each frame one JPEG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eulernet_core.clip_geometry import Clip, clip_indices, clip_starts, gather_clips, too_few_frames
from eulernet_core.errors import EmptyFolderError, TooFewFramesError

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
# For files found in a folder. A file that the user names is opened whatever its suffix.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".3gp", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".ogv"}
)


@dataclass(frozen=True)
class SourceFrame:
    """One picture. `index`: its number in the source, from 0; `name`: its name in error messages."""

    index: int
    name: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class SourceClip:
    """The frames of one clip. `number`: its number among the source's clips, from 0."""

    number: int
    frames: tuple[SourceFrame, ...]

    @property
    def jpegs(self) -> list[bytes]:
        """The frames' bytes."""
        return [frame.jpeg for frame in self.frames]


def iter_clips(path: str | Path, clips: int = 1) -> Iterator[SourceClip]:
    """Reads the clips of a video file or a folder of JPEGs, one at a time.

    Args:
        path: a video, or a folder whose .jpg and .jpeg files, in natural order of their names, are the frames.
        clips: how many, spread evenly; a single clip is taken from the middle.

    Raises:
        MediaError: says why the source gives no clip, and the remedy.
    """
    from eulernet_core.video import named_errors

    path = Path(path)
    with named_errors(path):
        yield from _folder_clips(path, clips) if path.is_dir() else _video_clips(path, clips)


def _video_clips(path: Path, clips: int) -> Iterator[SourceClip]:
    from eulernet_core.jpeg import encode_jpeg
    from eulernet_core.video import read_clips, upright

    for clip in read_clips(path, clips, lambda frame: encode_jpeg(upright(frame))):
        yield _named(clip, [f"frame {index}" for index in clip.indices])


def _folder_clips(folder: Path, clips: int) -> Iterator[SourceClip]:
    files = jpeg_files(folder)
    if not files:
        raise EmptyFolderError(
            f"{folder}: no JPEG in this folder; put the frames there as frame0.jpg, frame1.jpg, … or name a video"
        )
    starts = clip_starts(len(files), clips)
    if not starts:
        raise TooFewFramesError(f"{folder}: {too_few_frames(len(files))}")
    wanted = sorted({index for start in starts for index in clip_indices(start)})
    # The bytes are sent unchanged: the server applies the EXIF orientation.
    for clip in gather_clips(starts, ((index, files[index].read_bytes()) for index in wanted)):
        yield _named(clip, [f"frame {index} ({files[index].name})" for index in clip.indices])


def _named(clip: Clip[bytes], names: list[str]) -> SourceClip:
    return SourceClip(clip.number, tuple(map(SourceFrame, clip.indices, names, clip.items)))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts frame10 after frame9: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], name


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found = [f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".") and f.is_file()]
    return sorted(found, key=lambda file: natural_key(file.name))


def jpeg_files(folder: Path) -> list[Path]:
    """The folder's .jpg and .jpeg files, in natural order of their names."""
    return _files(folder, JPEG_SUFFIXES)


def find_sources(path: str | Path) -> list[Path]:
    """The sources that `eulernet score PATH` scores: every video and folder of JPEGs under PATH, in natural order.

    A file is a source itself. A folder gives its videos; without videos but with JPEGs, it is one source; the same
    holds for the folders inside. A path without any source is returned as it is, so that reading it raises the error.
    """
    path = Path(path)
    return _sources_under(path) or [path]


def _sources_under(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            return []
        found = _files(folder, VIDEO_SUFFIXES) or ([folder] if jpeg_files(folder) else [])
        inner = [f for f in folder.iterdir() if f.is_dir() and not f.is_symlink() and not f.name.startswith(".")]
    except OSError:
        return [folder]
    for sub in sorted(inner, key=lambda file: natural_key(file.name)):
        found += _sources_under(sub)
    return found
