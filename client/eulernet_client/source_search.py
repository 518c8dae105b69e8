# SPDX-License-Identifier: Apache-2.0
"""Finds the sources below a folder: every video, and every folder of frames. What is passed over is named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eulernet_client.media_kinds import (
    FRAME_SUFFIXES,
    VIDEO_SUFFIXES,
    by_name,
    chosen_frames,
    is_animated_webp,
    natural_key,
)

HIDDEN = "hidden"
LINKED_FOLDER = "linked folder"
BROKEN_LINK = "broken link"
SPECIAL = "pipe, socket or device"
OTHER_TYPE = "neither video nor picture"
BESIDE_VIDEOS = "picture in a folder with videos"
OTHER_FRAMES = "picture of another type than most in its folder"
NAMES_SHOWN = 3  # of each reason

_VIDEO, _FRAME, _FOLDER = "video", "frame", "folder"


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that is not scored. `reason`: one of this module's constants."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"path": str(self.path), "reason": self.reason}


@dataclass(frozen=True)
class Found:
    """`sources`: in natural order; `passed_over`: everything else in the folders searched."""

    sources: list[Path]
    passed_over: list[PassedOver]


def search_sources(*paths: str | Path) -> Found:
    """The sources that `eulernet score PATHS` scores, and what it passes over.

    A file is a source itself. A folder gives its videos; without videos but with pictures, it is one source; the same
    holds for the folders inside. Links to files are followed, links to folders inside a folder are not. A path without
    any source, and a folder that can't be read, are sources, so that reading them raises the error.
    """
    found = Found([], [])
    for path in map(Path, paths):
        before = len(found.sources)
        if _is_folder(path):
            _search(path, found)
        if len(found.sources) == before:
            found.sources.append(path)
    return found


def find_sources(path: str | Path) -> list[Path]:
    """The sources of `search_sources(path)`."""
    return search_sources(path).sources


def reason_counts(passed_over: Iterable[PassedOver]) -> Counter[str]:
    """How many entries were passed over for each reason."""
    return Counter(each.reason for each in passed_over)


def passed_over_lines(passed_over: Sequence[PassedOver]) -> list[str]:
    """One line for each reason, with the number of entries and the first names."""
    lines = []
    for reason, count in reason_counts(passed_over).most_common():
        names = [str(path) for path in islice(_of(passed_over, reason), NAMES_SHOWN)]
        lines.append(f"passed over: {count:,} ({reason}): {', '.join(names)}{', …' if count > len(names) else ''}")
    return lines


def _of(passed_over: Iterable[PassedOver], reason: str) -> Iterator[Path]:
    return (each.path for each in passed_over if each.reason == reason)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _search(top: Path, found: Found) -> None:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        kinds: dict[str, list[Path]] = {_VIDEO: [], _FRAME: [], _FOLDER: []}
        passed_over: list[PassedOver] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    kind = _kind(entry)
                    path = folder / entry.name
                    if kind in kinds:
                        kinds[kind].append(path)
                    else:
                        passed_over.append(PassedOver(path, kind))
        except OSError:
            found.sources.append(folder)
            continue
        found.passed_over.extend(sorted(passed_over, key=lambda each: natural_key(each.path.name)))
        _take(folder, by_name(kinds[_VIDEO]), kinds[_FRAME], found)
        waiting += reversed(by_name(kinds[_FOLDER]))


def _take(folder: Path, videos: list[Path], pictures: list[Path], found: Found) -> None:
    """Adds the sources of one folder: its videos, or itself if it has frames."""
    if videos:
        found.sources.extend(videos)
        found.passed_over.extend(PassedOver(path, BESIDE_VIDEOS) for path in by_name(pictures))
    elif pictures:
        found.sources.append(folder)
        found.passed_over.extend(PassedOver(path, OTHER_FRAMES) for path in chosen_frames(pictures).others)


def _kind(entry: os.DirEntry[str]) -> str:
    """_VIDEO, _FRAME, _FOLDER, or the reason to pass it over."""
    if entry.name.startswith("."):
        return HIDDEN
    try:
        if entry.is_dir():
            return LINKED_FOLDER if entry.is_symlink() else _FOLDER
        if not entry.is_file():
            return BROKEN_LINK if entry.is_symlink() and not Path(entry.path).exists() else SPECIAL
    except OSError:
        return BROKEN_LINK
    return _file_kind(Path(entry.path))


def _file_kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _VIDEO
    try:
        if is_animated_webp(path):
            return _VIDEO
    except OSError:
        pass  # reading the frame later raises the error
    return _FRAME if suffix in FRAME_SUFFIXES else OTHER_TYPE
