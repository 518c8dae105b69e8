"""Turns a video or a folder of JPEGs into clips: 4 frames, every 3rd source frame, each frame one JPEG."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eulernet_client._contract import CLIP_FRAMES, CLIP_SPAN, FRAME_INTERVAL
from eulernet_client.errors import EmptyFolderError, MissingFileError, TooFewFramesError, UnreadableFileError

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
# Only to tell videos from other files in a folder; a file named on its own is opened whatever its name.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv", ".3gp", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".ogv"}
)


@dataclass(frozen=True)
class SourceFrame:
    """One picture. `index`: its number in the source, from 0; `name`: how error texts call it."""

    index: int
    name: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class SourceClip:
    """The frames of one clip. `number`: which of the source's clips, from 0."""

    number: int
    frames: tuple[SourceFrame, ...]

    @property
    def jpegs(self) -> list[bytes]:
        return [frame.jpeg for frame in self.frames]


def clip_starts(frame_count: int, clips: int = 1) -> list[int]:
    """First frames of `clips` clips spread evenly: the k-th is centred in the k-th of `clips` equal parts.

    A source too short for so many different clips gives fewer.
    """
    if clips < 1:
        raise ValueError(f"clips={clips}: ask for at least 1")
    last = frame_count - CLIP_SPAN
    if last < 0:
        return []
    centres = ((2 * k + 1) * frame_count / (2 * clips) for k in range(clips))
    return sorted({min(last, max(0, int(centre - CLIP_SPAN / 2))) for centre in centres})


def clip_indices(start: int) -> list[int]:
    """The source frames of the clip that begins at frame `start`."""
    return [start + FRAME_INTERVAL * i for i in range(CLIP_FRAMES)]


def assemble(starts: list[int], frames: Iterable[SourceFrame], first_number: int = 0) -> Iterator[SourceClip]:
    """Groups frames, which come in order, into the clips that begin at `starts`; holds no more than these need."""
    held: dict[int, SourceFrame] = {}
    coming = iter(frames)
    for number, start in enumerate(starts, first_number):
        indices = clip_indices(start)
        held = {index: frame for index, frame in held.items() if index >= start}
        while indices[-1] not in held:
            frame = next(coming, None)
            if frame is None:
                return
            held[frame.index] = frame
        yield SourceClip(number, tuple(held[index] for index in indices))


def too_few(path: Path, frame_count: int) -> TooFewFramesError:
    """The error for a source shorter than one clip."""
    frames = "1 frame" if frame_count == 1 else f"{frame_count} frames"
    return TooFewFramesError(
        f"{path}: {frames}, needs at least {CLIP_SPAN} ({CLIP_FRAMES} frames, every {FRAME_INTERVAL}rd)"
    )


def iter_clips(path: str | Path, clips: int = 1) -> Iterator[SourceClip]:
    """Reads the clips of a video file or a folder of JPEGs, one at a time.

    Args:
        path: a video, or a folder whose .jpg and .jpeg files, in natural order of their names, are the frames.
        clips: how many, spread evenly; one is taken from the middle.

    Raises:
        MediaError: says what is wrong with the file and what to do.
    """
    path = Path(path)
    try:
        if path.is_dir():
            yield from _folder_clips(path, clips)
            return
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder; check the path")
        from eulernet_client._video import video_clips

        yield from video_clips(path, clips)
    except PermissionError as error:
        raise UnreadableFileError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
    except OSError as error:
        raise UnreadableFileError(f"{path}: can't be read ({error.strerror}); check the path and the disk") from error


def _folder_clips(folder: Path, clips: int) -> Iterator[SourceClip]:
    files = jpeg_files(folder)
    if not files:
        raise EmptyFolderError(
            f"{folder}: no JPEG in this folder; put the frames there as frame0.jpg, frame1.jpg, … or name a video"
        )
    starts = clip_starts(len(files), clips)
    if not starts:
        raise too_few(folder, len(files))
    wanted = sorted({index for start in starts for index in clip_indices(start)})
    # The bytes go out as they are: turning the picture by its EXIF tag is the server's work.
    frames = (SourceFrame(i, f"frame {i} ({files[i].name})", files[i].read_bytes()) for i in wanted)
    yield from assemble(starts, frames)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts frame10 after frame9: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], name


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found = [f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".") and f.is_file()]
    return sorted(found, key=lambda file: natural_key(file.name))


def jpeg_files(folder: Path) -> list[Path]:
    """The folder's frames, in natural order of their names."""
    return _files(folder, JPEG_SUFFIXES)


def find_sources(path: str | Path) -> list[Path]:
    """What `eulernet score PATH` scores: every source under PATH, in natural order.

    A file stands for itself. Of a folder: its videos; where it has none but JPEGs, the folder as one clip; and the same
    for the folders inside. A path with nothing of the kind is handed back, so that reading it says what is wrong.
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
