# SPDX-License-Identifier: Apache-2.0
"""Writes the finished table, whole or not at all: Parquet, CSV or JSON Lines, by the file's suffix.

Parquet is written by arro3 (parquet-rs), a download of 12 MB without numpy. It builds lists only from JSON, so the rows
go through a file of JSON lines, which also limits memory to one row group.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, cast

from eulernet_client.batch.row import COLUMNS, Row
from eulernet_client.errors import TableError
from eulernet_core.csv_cells import formula_safe
from eulernet_core.whole_files import replacing

if TYPE_CHECKING:
    from arro3.core import Schema

GROUP_ROWS = 10_000  # rows of a Parquet row group


def check_table(path: Path) -> None:
    """Checks before scoring that the table can be written afterwards.

    Raises:
        TableError: the suffix is unknown, its writer is not installed, or the folder does not exist.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise TableError(f"{path}: give a name that ends in {', '.join(_WRITERS)}")
    if suffix == ".parquet" and not all(map(find_spec, ("arro3", "arro3.io"))):
        raise TableError(f"{path}: needs arro3-io: run  pip install 'eulernet[parquet]', or give .csv or .jsonl")
    if not path.absolute().parent.is_dir():
        raise TableError(f"{path}: its folder does not exist; make it first")
    if path.is_dir():
        raise TableError(f"{path}: is a folder; name a file in it")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows to a temporary file that then replaces `path`.

    Raises:
        TableError: the file can't be written; an earlier table is unchanged.
    """
    try:
        with replacing(path) as fresh:
            _WRITERS[path.suffix.lower()](fresh, map(_clean, rows))
    except OSError as error:
        raise TableError(f"{path}: can't be written ({error.strerror or error}); choose another --out") from error


def _clean(row: Row) -> Row:
    """The columns in order, as valid Unicode: bytes of a file's name that are not UTF-8 become `\\udcff`."""
    return {name: _text(row[name]) for name in COLUMNS}


def _text(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return [_text(each) for each in value] if isinstance(value, list) else value


def _write_jsonl(path: Path, rows: Iterable[Row], mode: Literal["w", "x"] = "w") -> None:
    with path.open(mode, encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes lists as JSON, None as an empty cell, and text that a spreadsheet would run as a formula behind a '."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # Only with this line end does csv quote a carriage return in a cell; each row is one write.
        table = csv.DictWriter(_UnixLines(file), COLUMNS, lineterminator="\r\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: _cell(value) for name, value in row.items()})


class _UnixLines:
    """A file whose rows end with a line feed instead of "\\r\\n"."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.removesuffix("\r\n") + "\n")


def _cell(value: object) -> object:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return formula_safe(value) if isinstance(value, str) else value


def _write_parquet(path: Path, rows: Iterable[Row]) -> None:
    from arro3.io import read_json, write_parquet

    lines = path.with_name(f"{path.name}.jsonl")
    try:
        _write_jsonl(lines, rows, "x")  # its name is random, as that of `path`, and must not be taken
        with path.open("wb") as file:
            sink = _Sink(file)
            write_parquet(
                read_json(lines, _schema(), batch_size=1024),
                cast("BinaryIO", sink),
                compression="zstd(3)",
                max_row_group_size=GROUP_ROWS,
            )
        if sink.failure is not None:
            raise sink.failure
    finally:
        lines.unlink(missing_ok=True)


class _Sink(io.RawIOBase):
    """Stores a write error for later, since arro3 would panic with a stack trace on the terminal."""

    def __init__(self, file: BinaryIO) -> None:
        self.failure: OSError | None = None
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.failure = error
        return len(data)


def _schema() -> Schema:
    from arro3.core import DataType, Field, Schema

    kinds = {
        "text": DataType.utf8(),
        "texts": DataType.list(Field("item", DataType.utf8())),
        "number": DataType.float64(),
        "numbers": DataType.list(Field("item", DataType.float64())),
        "count": DataType.int32(),
    }
    return Schema([Field(name, kinds[kind]) for name, kind in COLUMNS.items()])


_WRITERS: dict[str, Callable[[Path, Iterable[Row]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}
