# SPDX-License-Identifier: Apache-2.0
"""Rows of a CSV with a header (RFC 4180, UTF-8); semicolons, tabs and vertical bars may stand in place of commas."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_BLOCK_BYTES = 1 << 20


class CsvError(ValueError):
    """A file whose rows can't be read.

    Attributes:
        line: number of the line with the fault; None for the whole file.
        what: the cause and the remedy.
    """

    def __init__(self, line: int | None, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


@dataclass(frozen=True)
class CsvRow:
    """One row.

    Attributes:
        line: number of its last line.
        cells: the text of each column of the header, without surrounding blanks; empty if there is a fault.
        fault: why the cells can't be assigned to the columns, with the remedy; else empty.
    """

    line: int
    cells: dict[str, str]
    fault: str = ""


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[CsvRow]:
    """The rows that are not blank. The header decides which delimiter the file has; its case does not matter.

    Args:
        columns: names that the header must have; it may have others.
    Raises:
        CsvError: the file can't be read, is not UTF-8, lacks a column, or has an unclosed quotation mark.
    """
    text = _content(path)
    delimiter = _delimiter(text, columns)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(reader, [])]
        _check_header(header, columns)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            while len(row) > len(header) and not row[-1].strip():  # spreadsheets pad rows
                row.pop()
            if len(row) != len(header):
                name = _DELIMITERS[delimiter]
                what = f"{len(row)} cells, the header has {len(header)}"
                yield CsvRow(reader.line_num, {}, f"{what}; is a {name} missing, or one inside a cell without quotes?")
            else:
                cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
                yield CsvRow(reader.line_num, cells)
    except csv.Error as error:
        raise CsvError(reader.line_num, f"{error}; is a quotation mark missing?") from error


def _content(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    parts: list[str] = []
    try:
        with path.open("rb") as stream:
            # By blocks, so that a large file that is no text fails at once.
            while block := stream.read(_BLOCK_BYTES):
                parts.append(decoder.decode(block))
        parts.append(decoder.decode(b"", final=True))
    except OSError as error:
        raise CsvError(None, f"can't be read ({error.strerror}); give a CSV file in UTF-8") from error
    except UnicodeDecodeError as error:
        before = sum(part.count("\n") for part in parts) + error.object.count(b"\n", 0, error.start)
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save as CSV in UTF-8"
        raise CsvError(before + 1, what) from error
    return "".join(parts)


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """The delimiter that finds most of the columns in the first line; a comma if none finds any."""
    first = text.partition("\n")[0]

    def found(delimiter: str) -> int:
        try:
            header = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:
            return 0
        return len({cell.strip().casefold() for cell in header} & set(columns))

    return max(_DELIMITERS, key=found)


def _check_header(header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in header]
    double = [column for column in columns if header.count(column) > 1]
    if missing or double:
        what = f"no column {', '.join(missing)}" if missing else f"column {', '.join(double)} twice"
        raise CsvError(1, f"{what}; the first line must be {','.join(columns)}")
