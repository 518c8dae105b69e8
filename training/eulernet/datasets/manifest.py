# SPDX-License-Identifier: Apache-2.0
"""Reads manifests of recordings: a CSV (RFC 4180, UTF-8) with the columns path, label, instrument, subject, split."""

import csv
from collections import defaultdict
from pathlib import Path

from eulernet.datasets.records import BONA_FIDE, LABELS, SPLITS, Problems, Reading, Split, Video

COLUMNS = ("path", "label", "instrument", "subject", "split")
UNKNOWN_INSTRUMENT = "unknown"


def read_manifest(path: Path, split: Split | None = None) -> Reading:
    """The videos of a manifest, of all splits or of one.

    Paths are relative to the manifest's folder. label is `live` or `attack`. instrument is a free name of the attack
    instrument and may be empty. A video with an empty subject counts as a separate subject.
    """
    reading = Reading()
    rows = _rows(path, reading.problems)
    seen: set[Path] = set()
    for where, row in rows:
        video = _video(path.parent, row, where, reading.problems)
        if video is None:
            continue
        if video.path in seen:
            reading.problems.add("listed twice", where, f"{video.path}; its first row counts")
            continue
        seen.add(video.path)
        reading.videos.append(video)
    _name_leaks(path, reading)
    if split is not None:
        reading.videos = [video for video in reading.videos if video.split == split]
    return reading


def _rows(path: Path, problems: Problems) -> list[tuple[str, dict[str, str]]]:
    """Each row with its position, `file:line`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                header = ",".join(COLUMNS)
                problems.add("wrong layout", path, f"no column {', '.join(missing)}; the first line must be {header}")
                return []
            return [
                (f"{path}:{reader.line_num}", {column: (row[column] or "").strip() for column in COLUMNS})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.add("wrong layout", path, f"can't be read ({error}); give a CSV file in UTF-8")
        return []


def _video(folder: Path, row: dict[str, str], where: str, problems: Problems) -> Video | None:
    label = next((each for each in LABELS if each == row["label"]), None)
    split = next((each for each in SPLITS if each == row["split"]), None)
    instrument = row["instrument"] or (BONA_FIDE if label == "live" else UNKNOWN_INSTRUMENT)
    path = folder / row["path"]
    if label is None:
        problems.add("missing label", where, f"label {row['label']!r}; write {' or '.join(LABELS)}")
    elif split is None:
        problems.add("missing split", where, f"split {row['split']!r}; write {', '.join(SPLITS)}")
    elif (instrument == BONA_FIDE) != (label == "live"):
        problems.add("label contradicts instrument", where, f"{label} with instrument {instrument!r}; left out")
    elif not row["path"] or not path.is_file():
        problems.add("missing video", where, f"{path}: no such file; paths are relative to the manifest's folder")
    elif path.stat().st_size == 0:
        problems.add("unreadable video", where, f"{path}: the file is empty (0 bytes); copy it again")
    else:
        subject = row["subject"] or f"{path.parent.name}/{path.name}"
        return Video(path, label, instrument, subject, None, None, split, path.stem)
    return None


def _name_leaks(path: Path, reading: Reading) -> None:
    splits = defaultdict(set)
    for video in reading.videos:
        splits[video.subject].add(video.split)
    for subject, found in splits.items():
        if len(found) > 1:
            both = ", ".join(sorted(found))
            reading.problems.add(
                "subject in several splits", path, f"{subject}: {both}; the results will be too optimistic"
            )
