# SPDX-License-Identifier: Apache-2.0
"""Traffic of a load test: frames of real videos, in memory, as the JPEGs that the client would send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eulernet_client.media_kinds import folder_frames
from eulernet_client.sources import find_sources, frame_jpeg
from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_INTERVAL, FRAME_SPACING_S, too_few_frames
from eulernet_core.errors import EmptyFolderError, MissingFileError, TooFewFramesError
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.video import named_errors, read_frames, read_spaced_frames, upright

DEFAULT_FRAMES = 48  # of one source: at 640x480 about 5 MB


@dataclass(frozen=True)
class Source:
    """Frames of one video, 0.1 s apart, or every 3rd of a folder, for streams and for clips."""

    path: str
    jpegs: tuple[bytes, ...]

    def frame(self, number: int) -> bytes:
        """Frame `number` of an endless stream: forwards, backwards, forwards, so that the face never jumps."""
        turn = 2 * (len(self.jpegs) - 1)
        place = number % turn
        return self.jpegs[min(place, turn - place)]

    def clips(self) -> Iterator[tuple[bytes, ...]]:
        """Its clips of 4 frames, in order."""
        for start in range(0, len(self.jpegs) - CLIP_FRAMES + 1, CLIP_FRAMES):
            yield self.jpegs[start : start + CLIP_FRAMES]


@dataclass(frozen=True)
class Traffic:
    """Several sources, used in turn."""

    sources: tuple[Source, ...]

    def clips(self) -> tuple[tuple[bytes, ...], ...]:
        """All clips of all sources."""
        return tuple(clip for source in self.sources for clip in source.clips())

    def source(self, number: int) -> Source:
        """The source of stream `number`."""
        return self.sources[number % len(self.sources)]

    @property
    def bytes_per_frame(self) -> float:
        """Mean size of a JPEG."""
        sizes = [len(jpeg) for source in self.sources for jpeg in source.jpegs]
        return sum(sizes) / len(sizes)


def load(paths: Sequence[str | Path], most_frames: int = DEFAULT_FRAMES) -> Traffic:
    """Reads videos and folders of JPEGs, up to `most_frames` of each.

    Raises:
        MediaError: one of the sources makes no clip.
    """
    found = [source for path in paths for source in find_sources(path)]
    return Traffic(tuple(_read(path, most_frames) for path in found))


def _read(path: Path, most_frames: int) -> Source:
    with named_errors(path):
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder; check the path")
        jpegs = _folder(path, most_frames) if path.is_dir() else _video(path, most_frames)
    return Source(str(path), jpegs)


def _folder(folder: Path, most_frames: int) -> tuple[bytes, ...]:
    files = folder_frames(folder).files
    if not files:
        raise EmptyFolderError(f"{folder}: no picture and no video in this folder; name a video, or a folder of frames")
    chosen = files[::FRAME_INTERVAL][:most_frames]
    if len(chosen) < CLIP_FRAMES:
        raise TooFewFramesError(f"{folder}: {too_few_frames(len(files))}")
    return tuple(frame_jpeg(file, str(folder)) for file in chosen)


def _video(path: Path, most_frames: int) -> tuple[bytes, ...]:
    frames = read_spaced_frames(path, lambda frame: encode_jpeg(upright(frame)))
    jpegs = tuple(islice(frames, most_frames))
    if len(jpegs) < CLIP_FRAMES:
        count = sum(1 for _ in read_frames(path, lambda frame: None))
        raise TooFewFramesError(f"{path}: {count} frames, needs {CLIP_FRAMES} that are {FRAME_SPACING_S:g} s apart")
    return jpegs
