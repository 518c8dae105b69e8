"""What a load test sends: the frames of real videos, held in memory as the JPEGs that a client would send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eulernet_client._contract import CLIP_FRAMES, FRAME_INTERVAL
from eulernet_client._media import find_sources, jpeg_files, too_few
from eulernet_client.errors import EmptyFolderError, MissingFileError, UnreadableFileError

DEFAULT_FRAMES = 48  # of one source: at 640x480 about 5 MB


@dataclass(frozen=True)
class Source:
    """Every 3rd frame of one video or folder: what a stream of it sends, and what its clips are cut from."""

    path: str
    jpegs: tuple[bytes, ...]

    def frame(self, number: int) -> bytes:
        """Frame `number` of a stream of any length: forwards, backwards, forwards, so that the face never jumps."""
        turn = 2 * (len(self.jpegs) - 1)
        place = number % turn
        return self.jpegs[min(place, turn - place)]

    def clips(self) -> Iterator[tuple[bytes, ...]]:
        """Its clips of 4 frames, one after the other."""
        for start in range(0, len(self.jpegs) - CLIP_FRAMES + 1, CLIP_FRAMES):
            yield self.jpegs[start : start + CLIP_FRAMES]


@dataclass(frozen=True)
class Traffic:
    """Several sources, taken in turn."""

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
        MediaError: a load test needs all that it was given.
    """
    found = [source for path in paths for source in find_sources(path)]
    return Traffic(tuple(_read(path, most_frames) for path in found))


def _read(path: Path, most_frames: int) -> Source:
    try:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder; check the path")
        jpegs, seen = _folder(path, most_frames) if path.is_dir() else _video(path, most_frames)
    except OSError as error:
        raise UnreadableFileError(f"{path}: can't be read ({error.strerror}); check its permissions") from error
    if len(jpegs) < CLIP_FRAMES:
        raise too_few(path, seen)
    return Source(str(path), jpegs)


def _folder(folder: Path, most_frames: int) -> tuple[tuple[bytes, ...], int]:
    files = jpeg_files(folder)
    if not files:
        raise EmptyFolderError(f"{folder}: no JPEG and no video in this folder; name a video, or a folder of frames")
    return tuple(file.read_bytes() for file in files[::FRAME_INTERVAL][:most_frames]), len(files)


def _video(path: Path, most_frames: int) -> tuple[tuple[bytes, ...], int]:
    """The JPEGs, and how many frames were decoded for them."""
    from eulernet_client._video import _decode_all, encode_jpeg, upright

    jpegs: list[bytes] = []
    seen = 0
    for frame in _decode_all(path):
        if seen % FRAME_INTERVAL == 0:
            jpegs.append(encode_jpeg(upright(frame)))
        seen += 1
        if len(jpegs) == most_frames:
            break
    return tuple(jpegs), seen
