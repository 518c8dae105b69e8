"""Writes the finished table, whole or not at all: Parquet, CSV or JSON Lines, by the file's suffix.

Parquet is written by arro3 (parquet-rs): 12 MB to fetch, no numpy. It builds lists from JSON only, so that the rows go
through a file of JSON lines; that also keeps memory to one row group.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from eulernet_client.batch.row import COLUMNS, Row
from eulernet_client.errors import TableError

if TYPE_CHECKING:
    from arro3.core import Schema

GROUP_ROWS = 10_000  # rows of a Parquet row group


def check_table(path: Path) -> None:
    """Tells before the work what would go wrong after it.

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
        raise TableError(f"{path}: is a folder; give a file's name")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows beside `path`, then puts the file in its place in one step.

    Raises:
        TableError: the system would not have it; what was there before is untouched.
    """
    fresh = path.with_name(f".{path.name}.tmp")
    try:
        _WRITERS[path.suffix.lower()](fresh, map(_clean, rows))
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise TableError(f"{path}: can't be written ({error.strerror or error}); choose another --out") from error
    finally:
        fresh.unlink(missing_ok=True)


def _clean(row: Row) -> Row:
    """The columns in order, their texts valid Unicode: what is not UTF-8 in a file's name becomes `\\udcff`."""
    return {name: _text(row[name]) for name in COLUMNS}


def _text(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return [_text(each) for each in value] if isinstance(value, list) else value


def _write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Lists as JSON, nothing as nothing."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow(
                {
                    name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                    for name, value in row.items()
                }
            )


def _write_parquet(path: Path, rows: Iterable[Row]) -> None:
    from arro3.io import read_json, write_parquet

    lines = path.with_name(f"{path.name}.jsonl")
    try:
        _write_jsonl(lines, rows)
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
    """Keeps a failure to write for later: arro3 panics at one, with a stack on the terminal."""

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
