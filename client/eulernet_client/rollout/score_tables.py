# SPDX-License-Identifier: Apache-2.0
"""Reads score tables: of `eulernet score --out` (.parquet, .csv, .jsonl), or a CSV of `eulernet evaluate`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eulernet_client.errors import TableError
from eulernet_client.rollout.score_pairs import Answered

NEEDED, SECONDS, ERROR = ("path", "liveness"), "seconds", "error_type"
PARQUET_MARK = b"PAR1"  # at both ends of a file


def read_answers(path: Path) -> dict[str, Answered]:
    """The answers by source. Several rows of a source, which are clips of it, give the mean of their scores.

    Raises:
        TableError: the file can't be read, or a row has no path or no valid liveness.
    """
    scores: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    number = 0
    for number, row in enumerate(_rows(path), 1):
        name, liveness = _cells(path, number, row)
        scores.setdefault(name, [])
        if row.get(SECONDS):
            seconds[name] = seconds.get(name, 0.0) + float(row[SECONDS])
        if liveness is None:
            errors[name] = str(row.get(ERROR) or "")
        else:
            scores[name].append(liveness)
    if not number:
        raise TableError(f"{path}: holds no row; name a score table")
    return {
        name: Answered(sum(found) / len(found) if found else None, seconds.get(name), error=errors.get(name, ""))
        for name, found in scores.items()
    }


def _cells(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, float | None]:
    for column in NEEDED:
        if column not in row:
            raise TableError(f"{path}: row {number}: no column {column!r}; name a score table")
    name, value = row["path"] or row.get("name"), row["liveness"]
    if not name:
        raise TableError(f"{path}: row {number}: names no source")
    if value is None or value == "":
        return str(name), None
    try:
        liveness = float(value)
    except (TypeError, ValueError):
        liveness = math.nan
    if not 0 <= liveness <= 1:
        raise TableError(f"{path}: row {number}: liveness {value!r} is no number from 0 to 1")
    return str(name), liveness


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    readers = {".parquet": _parquet_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise TableError(f"{path}: give a table that ends in {', '.join(readers)}")
    try:
        yield from readers[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise TableError(f"{path}: can't be read ({error}); name a score table") from error


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TableError(f"{path}: line {number} is no object; name a score table")
            yield row


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from arro3.io import read_parquet
    except ModuleNotFoundError as error:
        raise TableError(f"{path}: needs arro3-io: run  pip install 'eulernet[parquet]'") from error
    if not _has_parquet_marks(path):  # parquet-rs would panic
        raise TableError(f"{path}: is not a whole Parquet file; name a score table")
    try:
        table = read_parquet(str(path)).read_all()
    except Exception as error:  # of parquet-rs, without a common class
        raise TableError(f"{path}: can't be read ({error}); name a score table") from error
    columns = [each for each in (*NEEDED, SECONDS, ERROR) if each in table.column_names]
    values = [table.column(each).to_pylist() for each in columns]
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


def _has_parquet_marks(path: Path) -> bool:
    size = len(PARQUET_MARK)
    with path.open("rb") as file:
        first, end = file.read(size), file.seek(0, io.SEEK_END)
        file.seek(max(0, end - size))
        return end >= 3 * size and first == file.read(size) == PARQUET_MARK
