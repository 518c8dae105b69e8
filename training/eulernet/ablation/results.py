# SPDX-License-Identifier: Apache-2.0
"""The results file: a CSV with a row per finished run, small enough to commit."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eulernet.ablation.plan import BY_TAG, Run
from eulernet_core.whole_files import locked, write_whole_text

_DECIMALS = 6


class ResultsError(ValueError):
    """The results file can't be used; the message names the file, the line and the column."""


@dataclass(frozen=True)
class Row:
    """Results of a run. Rates are shares, 0 to 1; a presentation is a video.

    Attributes:
        variant, protocol, fold, seed: the run.
        recipe, data: digests of the shared settings and of the data set.
        simulated: whether the data is simulated.
        dev_eer, threshold: of the dev scores; a score is the location map's mean.
        dev_acer: of the dev scores at that threshold.
        apcer, acer: of the highest instrument. apcer_kind, acer_kind: of the highest kind (print, replay).
        eer, auc: of the test scores, independent of the threshold.
        best_epoch: the epoch of the scored weights, of `epochs`.
        seconds: of training.
        dev_eer_by_epoch: from training, with a clip as the presentation.
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
        """Rows with the same origin can be compared."""
        return self.recipe, self.data


COLUMNS = tuple(each.name for each in fields(Row))


def read_rows(path: Path) -> list[Row]:
    """The rows in the order of the file, and the last one of a repeated run. Empty if the file does not exist.

    Raises:
        ResultsError: the file is not a table of results.
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
    """Adds a row. The file is replaced atomically; rows from processes that append at the same time are all kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        rows = [*read_rows(path), row]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_cells, rows))
        write_whole_text(path, text.getvalue())


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
                f"{where}: {each.name}: invalid value {cell!r}; delete the line to repeat the run"
            ) from None
    if values["variant"] not in BY_TAG:
        raise ResultsError(f"{where}: variant: {values['variant']!r} is unknown; choose from {', '.join(BY_TAG)}")
    return Row(**values)


_READ: dict[Any, Any] = {
    str: str.strip,
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
    tuple[float, ...]: lambda cell: tuple(map(float, cell.split())),
}
