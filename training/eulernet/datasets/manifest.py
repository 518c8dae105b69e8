# SPDX-License-Identifier: Apache-2.0
"""Reads manifests of recordings: a CSV with the columns path, label, instrument, subject, split."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from eulernet.datasets.csv_rows import CsvError, CsvRow, csv_rows
from eulernet.datasets.records import (
    BONA_FIDE,
    SPLITS,
    Problem,
    Problems,
    Reading,
    Split,
    Video,
    instrument_of,
    label_of,
    label_remedy,
    split_of,
)

COLUMNS = ("path", "label", "instrument", "subject", "split")
_LINES_SHOWN = 3


def read_manifest(path: Path, split: Split | None = None) -> Reading:
    """The videos of a manifest, of all splits or of one.

    Paths are relative to the manifest's folder. label is `live` or `attack`, or a synonym such as bona_fide or spoof.
    instrument is a free name of the attack instrument and may be empty. A video with an empty subject counts as a
    separate subject. Videos of a subject in several splits are kept, and the problems name their lines.

    Args:
        split: to read; problems in rows of other splits are left to the reading of those.
    """
    rows, fault = _rows(path)
    if fault is not None:
        return Reading(problems=Problems([fault]))
    problems = Problems()
    used: dict[Path, tuple[int, Video]] = {}  # the line and the video of each file
    for row in rows:
        of_row = Problems()
        video = _video(path, row, of_row)
        if video is not None:
            line, first = used.setdefault(video.path.resolve(), (row.line, video))
            if line != row.line:
                of_row.add("listed twice", f"{path}:{row.line}", _repetition(video, first, line))
        if split is None or split_of(row.cells.get("split", "")) in (split, None):
            problems.extend(of_row)
    videos = dict(used.values())
    _name_shared_subjects(path, videos, split, problems)
    listed = Counter(split_of(row.cells.get("split", "")) for row in rows)
    return Reading(
        videos=[video for video in videos.values() if split in (None, video.split)],
        problems=problems,
        listed=len(rows) if split is None else listed[split],
        lacking=_lacking(path, split, listed),
    )


def _rows(path: Path) -> tuple[list[CsvRow], Problem | None]:
    """All rows, or the fault of the file. An unclosed quotation mark swallows rows, so no row is used then."""
    try:
        return list(csv_rows(path, COLUMNS)), None
    except CsvError as error:
        where = str(path) if error.line is None else f"{path}:{error.line}"
        return [], Problem("wrong layout", where, error.what)


def _lacking(path: Path, split: Split | None, listed: Mapping[Split | None, int]) -> str:
    if not sum(listed.values()):
        return f"{path}: no row after the header; write a row per video"
    if split is None or listed[split]:
        return ""
    found = [f"{listed[each]} {each}" for each in SPLITS if listed[each]]
    found += [f"{listed[None]} without a known split"] if listed[None] else []
    return f"{path}: no row has the split {split} (rows: {', '.join(found)}); give some rows of other people this split"


def _video(manifest: Path, row: CsvRow, problems: Problems) -> Video | None:
    where = f"{manifest}:{row.line}"
    if row.fault:
        problems.add("wrong layout", where, row.fault)
        return None
    cells = row.cells
    label, split = label_of(cells["label"]), split_of(cells["split"])
    instrument = instrument_of(cells["instrument"], label)
    path = manifest.parent / cells["path"]
    if label is None:
        kind = "unknown label" if cells["label"] else "missing label"
        problems.add(kind, where, f"label {cells['label']!r}; {label_remedy(cells['label'])}")
    elif split is None:
        kind = "unknown split" if cells["split"] else "missing split"
        problems.add(kind, where, f"split {cells['split']!r}; write {', '.join(SPLITS)}")
    elif (instrument == BONA_FIDE) != (label == "live"):
        remedy = "leave the instrument of a live video empty" if label == "live" else "name the attack's instrument"
        problems.add("label contradicts instrument", where, f"{label} with instrument {instrument!r}; {remedy}")
    elif unusable := _unusable(cells["path"], path):
        problems.add(unusable[0], where, f"{path}: {unusable[1]}")
    else:
        subject = cells["subject"] or f"{path.parent.name}/{path.name}"
        return Video(path, label, instrument, subject, None, None, split, path.stem)
    return None


def _unusable(cell: str, path: Path) -> tuple[str, str] | None:
    """The kind and the cause if a row's file can't be used."""
    try:
        if not cell or not path.exists():
            slashes = "; write / between folders" if "\\" in cell else ""
            return "missing video", f"no such file; paths are relative to the manifest's folder{slashes}"
        if not path.is_file():
            return "missing video", "not a file; write the path of a video"
        if path.stat().st_size == 0:
            return "unreadable video", "the file is empty (0 bytes); copy it again"
    except OSError as error:
        return "unreadable video", f"can't be read ({error.strerror}); mend the path or its permissions"
    return None


def _repetition(video: Video, first: Video, line: int) -> str:
    differing = [name for name in COLUMNS[1:] if getattr(video, name) != getattr(first, name)]
    contradiction = f", though its {' and '.join(differing)} differ" if differing else ""
    return f"{video.path}; line {line} counts, this row is left out{contradiction}"


def _name_shared_subjects(path: Path, videos: Mapping[int, Video], split: Split | None, problems: Problems) -> None:
    """Names subjects in several splits, with their lines. `videos`: by line."""
    lines: dict[str, dict[Split, list[int]]] = defaultdict(lambda: defaultdict(list))
    for line, video in videos.items():
        lines[video.subject][video.split].append(line)
    for subject, by_split in lines.items():
        if len(by_split) > 1 and (split is None or split in by_split):
            where = "; ".join(f"{each} in {_numbers(by_split[each])}" for each in SPLITS if each in by_split)
            what = f"{subject}: {where}; kept, so the results are too optimistic: give each person one split"
            problems.add("subject in several splits", path, what, kept=True)


def _numbers(lines: list[int]) -> str:
    shown = ", ".join(map(str, islice(lines, _LINES_SHOWN)))
    more = f" and {len(lines) - _LINES_SHOWN} more" if len(lines) > _LINES_SHOWN else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {shown}{more}"
