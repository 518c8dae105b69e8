"""The results file: a CSV with a row a finished run, small enough to be committed as it grows."""

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eulernet.ablation.plan import BY_TAG, Run

_DECIMALS = 6


class ResultsError(ValueError):
    """The results file can't be used; names the file, the line and the column."""


@dataclass(frozen=True)
class Row:
    """What is kept of a run. Rates are shares, 0 to 1, a presentation being a video.

    Attributes:
        variant, protocol, fold, seed: the run.
        recipe, data: digests of what all runs share and of the data set.
        simulated: whether the data is.
        dev_eer, threshold: of the dev scores; a score is the location map's mean.
        dev_acer: of the dev scores at that threshold.
        apcer, acer: by the highest instrument. apcer_kind, acer_kind: by the highest kind (print, replay).
        eer, auc: of the test scores alone.
        best_epoch: whose weights were scored, of `epochs`.
        seconds: of training.
        dev_eer_by_epoch: as training saw it, a clip being a presentation.
    """

    variant: str
    protocol: int
    fold: int
    seed: int
    recipe: str
    data: str
    simulated: bool
    dev_eer: float
    threshold: float
    dev_acer: float
    apcer: float
    apcer_kind: float
    bpcer: float
    acer: float
    acer_kind: float
    hter: float
    eer: float
    auc: float
    epochs: int
    best_epoch: int
    seconds: float
    dev_eer_by_epoch: tuple[float, ...]

    @property
    def run(self) -> Run:
        return Run(self.variant, self.protocol, self.fold, self.seed)

    @property
    def origin(self) -> tuple[str, str]:
        """Rows are comparable where this is the same."""
        return self.recipe, self.data


COLUMNS = tuple(each.name for each in fields(Row))


def read_rows(path: Path) -> list[Row]:
    """The rows in the order of the file; of a run that is there twice the last. None where there is no file.

    Raises:
        ResultsError: the file is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path}: can't be read ({error}); give a CSV that `eulernet ablate` wrote") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ResultsError(f"{path}:1: not the columns of this version; the first line must be {','.join(COLUMNS)}")
    found = {}
    for cells in reader:
        row = _row(cells, f"{path}:{reader.line_num}")
        found[row.run, row.origin] = row
    return list(found.values())


def append_row(path: Path, row: Row) -> None:
    """Adds a row. The file is whole at any time, and of processes that append at once each row is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        rows = [*read_rows(path), row]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_cells, rows))
        beside = path.with_name(f".{path.name}.part")
        with beside.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Holds a folder against other processes that lock it; False where it is taken and `wait` is not set. A killed
    process holds nothing."""
    handle = os.open(folder, os.O_RDONLY)  # the folder itself, so that no lock file is left beside committed files
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _cells(row: Row) -> Iterable[object]:
    for value in astuple(row):
        if isinstance(value, tuple):
            yield " ".join(str(round(each, _DECIMALS)) for each in value)
        else:
            yield round(value, _DECIMALS) if isinstance(value, float) else value


def _row(cells: dict[str, Any], where: str) -> Row:
    values: dict[str, Any] = {}
    for each in fields(Row):
        cell = cells[each.name]
        try:
            values[each.name] = _READ[each.type](cell)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ResultsError(
                f"{where}: {each.name}: {cell!r} does not fit; delete the line to run it again"
            ) from None
    if values["variant"] not in BY_TAG:
        raise ResultsError(f"{where}: variant: {values['variant']!r} is unknown; there are {', '.join(BY_TAG)}")
    return Row(**values)


_READ: dict[Any, Any] = {
    str: str.strip,
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
    tuple[float, ...]: lambda cell: tuple(map(float, cell.split())),
}
