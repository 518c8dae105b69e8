# SPDX-License-Identifier: Apache-2.0
"""Which files are videos and which are frames, by their suffixes, and the frames of a folder in natural order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# For files found in a folder; a file that the user names is opened whatever its suffix. Most of FFmpeg's demuxers go by
# the content and list no suffix, so these are listed here.
_VIDEO_TYPES = """
    mp4 m4v mov qt f4v mj2 3gp 3g2 psp ism ismv insv
    mpg mpeg mpe m1v m2v m2p mpv ts mts m2ts m2t tp trp vob vro evo mod tod ty
    avi divx amv wmv asf wtv webm mkv mk3d ogv ogm nut flv rm rmvb nsv mxf gxf dv dif dav roq ivf
    h261 h263 h264 264 avc h265 265 hevc h266 266 vvc obu mjpeg mjpg drc vc1 avs2 avs3 cavs y4m
    gif apng
"""
VIDEO_SUFFIXES = frozenset(f".{kind}" for kind in _VIDEO_TYPES.split())
FRAME_KINDS: dict[str, frozenset[str]] = {
    "JPEG": frozenset({".jpg", ".jpeg", ".jpe", ".jfif"}),
    "PNG": frozenset({".png"}),
    "WebP": frozenset({".webp"}),
    "BMP": frozenset({".bmp"}),
    "TIFF": frozenset({".tif", ".tiff"}),
}
JPEG_SUFFIXES = FRAME_KINDS["JPEG"]
FRAME_SUFFIXES: frozenset[str] = frozenset().union(*FRAME_KINDS.values())


@dataclass(frozen=True)
class FolderFrames:
    """The frames of a folder: all of one `kind`, a key of FRAME_KINDS. `others`: pictures of the other kinds."""

    kind: str
    files: list[Path]
    others: list[Path]


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts frame10 after frame9: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], name


def by_name(paths: list[Path]) -> list[Path]:
    """Paths in natural order of their names."""
    return sorted(paths, key=lambda path: natural_key(path.name))


def chosen_frames(pictures: list[Path]) -> FolderFrames:
    """The pictures of the most frequent kind, in natural order; of JPEGs if several kinds are as frequent."""
    kinds = {kind: [path for path in pictures if path.suffix.lower() in FRAME_KINDS[kind]] for kind in FRAME_KINDS}
    kind = max(kinds, key=lambda each: len(kinds[each]))  # the first of equal ones
    others = [path for each, paths in kinds.items() if each != kind for path in paths]
    return FolderFrames(kind, by_name(kinds[kind]), by_name(others))


def folder_frames(folder: Path) -> FolderFrames:
    """The frames of a folder. Raises: OSError."""
    return chosen_frames([path for path in folder.iterdir() if is_frame_name(path.name) and path.is_file()])


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP with several frames, by the flag in its header. Raises: OSError."""
    if path.suffix.lower() != ".webp" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:] and head[20] & 0x02)


def is_frame_name(name: str) -> bool:
    """Whether a file of this name is taken as a frame."""
    return Path(name).suffix.lower() in FRAME_SUFFIXES and not name.startswith(".")
