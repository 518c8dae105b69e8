# SPDX-License-Identifier: Apache-2.0
"""The score table: a CSV with a row per clip, the input of all figures.

A clip is identified by its video's path and `start`, the number of its first frame. A row without liveness is an
unscored presentation, a non-response in ISO/IEC 30107-3.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eulernet.datasets.csv_rows import CsvError, csv_rows
from eulernet.datasets.records import BONA_FIDE, SPLITS, Split, Video, instrument_of, label_of, label_remedy, split_of
from eulernet_core.whole_files import write_whole

COLUMNS = ("path", "name", "label", "instrument", "subject", "phone", "session", "split", "start", "liveness")
_SHOWN = 5  # problems listed in an error


class ScoresError(ValueError):
    """An unusable score table; the message names the file, the line and the column of each problem."""


@dataclass(frozen=True)
class Score:
    """One clip: its video, its liveness and the number of its first frame.

    `liveness`: 0 to 1, higher for bona fide; None for an unscored video or clip. `start`: None if unknown.
    """

    video: Video
    liveness: float | None
    start: int | None = None


class _CellError(Exception):
    def __init__(self, column: str, what: str) -> None:
        super().__init__(f"{column}: {what}")


def write_scores(path: Path, scores: Iterable[Score], root: Path | None = None) -> int:
    """Writes the table atomically. Returns the number of rows.

    Args:
        root: folder of the data set; paths are written relative to it, so that the table is valid on other machines.
    Raises:
        ScoresError: a liveness is outside 0 to 1.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    count = 0
    for count, score in enumerate(scores, 1):  # noqa: B007 (the last value is the number of rows)
        video = score.video
        if score.liveness is not None and not 0.0 <= score.liveness <= 1.0:
            raise ScoresError(f"{path}: not written: liveness {score.liveness} of {video.name} is not between 0 and 1")
        writer.writerow(
            (
                _relative(video.path, root),
                video.name,
                video.label,
                video.instrument,
                video.subject,
                _text(video.phone),
                _text(video.session),
                video.split,
                _text(score.start),
                # repr is the shortest text with the same value.
                "" if score.liveness is None else repr(float(score.liveness)),
            )
        )
    # Paths that are not UTF-8 stay distinct with backslash escapes.
    write_whole(path, text.getvalue().encode("utf-8", errors="backslashreplace"))
    return count


def read_scores(path: Path, split: Split | None = None) -> list[Score]:
    """The rows of a table.

    Values of empty cells: path: the name; name: the file's stem; instrument of an attack: `unknown`; subject: another
    one for each video; phone, session, start and liveness: None; split: `split`.

    Args:
        path: the CSV.
        split: required split of every row; None for any, then each row must name its split.
    Raises:
        ScoresError: the table can't be used.
    """
    scores, problems = [], []
    for line, cells in _rows(path):
        try:
            scores.append(_score(cells, split))
        except _CellError as error:
            problems.append(f"{path}:{line}: {error}")
    if problems:
        more = [f"and {len(problems) - _SHOWN} more rows"] if len(problems) > _SHOWN else []
        raise ScoresError("\n".join(problems[:_SHOWN] + more))
    if not scores:
        raise ScoresError(f"{path}: no row after the header; write a row per clip")
    return scores


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each row's last line, and its cells."""
    try:
        for row in csv_rows(path, COLUMNS):
            if row.fault:
                raise CsvError(row.line, row.fault)
            yield row.line, row.cells
    except CsvError as error:
        where = path if error.line is None else f"{path}:{error.line}"
        raise ScoresError(f"{where}: {error.what}") from error


def _score(cells: dict[str, str], split: Split | None) -> Score:
    label = label_of(cells["label"])
    if label is None:
        raise _CellError("label", f"{cells['label']!r} is unknown; {label_remedy(cells['label'])}")
    instrument = instrument_of(cells["instrument"], label)
    if (instrument == BONA_FIDE) != (label == "live"):
        raise _CellError("instrument", f"{instrument!r} contradicts label {label!r}; {BONA_FIDE!r} is for live only")
    if not cells["path"] and not cells["name"]:
        raise _CellError("path", "empty, and so is name; give one of them")
    path = Path(cells["path"] or cells["name"])
    video = Video(
        path=path,
        label=label,
        instrument=instrument,
        subject=cells["subject"] or f"{path.parent.name}/{path.name}",
        phone=_integer(cells, "phone"),
        session=_integer(cells, "session"),
        split=_split(cells["split"], split),
        name=cells["name"] or path.stem,
    )
    return Score(video, _liveness(cells["liveness"]), _integer(cells, "start"))


def _relative(path: Path, root: Path | None) -> str:
    if root is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    return path.as_posix()


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _split(cell: str, expected: Split | None) -> Split:
    found = split_of(cell)
    if found is None and (cell or expected is None):
        raise _CellError("split", f"{cell!r} is unknown; write {', '.join(SPLITS)}")
    if found is not None and expected not in (None, found):
        raise _CellError("split", f"{cell!r}, but this must be the {expected} table; check the order of the tables")
    return found or expected or "test"


def _integer(cells: dict[str, str], column: str) -> int | None:
    cell = cells[column]
    if not cell:
        return None
    if not (cell.isascii() and cell.isdigit() and len(cell) <= 9):
        raise _CellError(
            column, f"{cell[:20]!r} is not a whole number; write one, or leave the cell empty if it is unknown"
        )
    return int(cell)


def _liveness(cell: str) -> float | None:
    if not cell:
        return None
    try:
        found = float(cell)
    except ValueError:
        what = f"{cell[:20]!r} is not a number; write one between 0 and 1 such as 0.5, or leave the cell empty"
        raise _CellError("liveness", what) from None
    if math.isnan(found):
        raise _CellError("liveness", "nan; score the clip again, or leave the cell empty")
    if not 0.0 <= found <= 1.0:
        raise _CellError("liveness", f"{cell} is not between 0 (attack) and 1 (live)")
    return found
