"""The memory of a batch: a file beside the table, to which every finished source is appended as a line of JSON.

The first line says what was scored with. A line is written in one piece and never changed, so that a kill at any moment
leaves at most one broken line at the end; what follows the last whole line is cut off when the journal is opened again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from eulernet_client._media import JPEG_SUFFIXES
from eulernet_client.batch.row import Row, Scored
from eulernet_client.errors import JournalError, OtherWeightsError

FORMAT = 1
LONGEST_HEAD = 1 << 16  # bytes of the first line; a file that is no journal may have lines without end
SYNC_S = 5.0  # a kill loses nothing; a power failure loses what was scored in the last so many seconds


class Entry(NamedTuple):
    """Where a source's newest line lies in the file (bytes), and what `Scored` says of it."""

    offset: int
    length: int
    mark: str
    final: bool


def fingerprint(path: Path) -> str:
    """Changes when the source does: size and time of change of the video, or of all JPEGs of the folder; "" where the
    system does not tell."""
    try:
        if not path.is_dir():
            return _size_and_time(path.stat())
        with os.scandir(path) as entries:  # half the time that Path takes, for hundreds of frames
            found = sorted((each.name, _size_and_time(each.stat())) for each in entries if _is_frame(each.name))
    except OSError:
        return ""
    text = "\n".join(f"{name}\0{about}" for name, about in found)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _is_frame(name: str) -> bool:
    return name.lower().endswith(tuple(JPEG_SUFFIXES)) and not name.startswith(".")


def _size_and_time(found: os.stat_result) -> str:
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"


class Journal:
    """Opens or begins a journal, and keeps others from it until it is closed. Use it in a `with` block.

    Args:
        path: the file.
        weights: label of the weights that score now.
        clips: clips asked of each source.

    Raises:
        OtherWeightsError: it has scores of other weights.
        JournalError: another run has it open, it is of other settings or no journal, or the system refuses it.
    """

    def __init__(self, path: Path, *, weights: str, clips: int) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._head = {"eulernet_journal": FORMAT, "weights": weights, "clips": clips}
        self._synced = time.monotonic()
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise JournalError(f"{path}: can't be opened ({error.strerror}); choose another --out") from error
        try:
            self._lock()
            self._end = self._read()
            self._file.truncate(self._end)
            if not self._end:
                self._append(self._head)
        except BaseException:
            self._file.close()
            raise

    def add(self, key: str, scored: Scored) -> None:
        """Appends a source. `key`: its absolute path."""
        entry = {"key": key, "mark": scored.mark, "final": scored.final, "row": scored.row}
        offset = self._end
        self._append(entry)
        self.entries[key] = Entry(offset, self._end - offset, scored.mark, scored.final)

    def void(self, keys: Iterable[str]) -> None:
        """Forgets sources: they will be scored again."""
        for key in keys:
            if self.entries.pop(key, None):
                self._append({"void": key})

    def row(self, key: str) -> Row:
        """The newest row of a source."""
        entry = self.entries[key]
        row: Row = json.loads(os.pread(self._file.fileno(), entry.length, entry.offset))["row"]
        return row

    def close(self) -> None:
        """Leave the file to others."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it however this process ends
        except BlockingIOError as error:
            raise JournalError(
                f"{self.path}: another run is writing it; wait for it or choose another --out"
            ) from error
        except OSError as error:
            raise JournalError(f"{self.path}: can't be locked ({error.strerror}); choose another --out") from error

    def _read(self) -> int:
        """Fills `entries`. Returns where the last whole line ends, in bytes."""
        with self.path.open("rb") as lines:
            first = lines.readline(LONGEST_HEAD)
            if not first:
                return 0
            self._compare(first)
            end = len(first)
            for line in lines:
                try:
                    self._remember(json.loads(line), end, len(line))
                except (ValueError, KeyError, TypeError):
                    break
                end += len(line)
        return end

    def _remember(self, entry: dict[str, Any], offset: int, length: int) -> None:
        if "void" in entry:
            self.entries.pop(entry["void"], None)
        else:
            self.entries[entry["key"]] = Entry(offset, length, entry["mark"], entry["final"])

    def _compare(self, first: bytes) -> None:
        try:
            head = json.loads(first)
            version, weights, clips = head["eulernet_journal"], head["weights"], head["clips"]
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(f"{self.path}: not a journal of scores; move it away or choose another --out") from error
        again = f"choose another --out, or delete {self.path} and its table to score everything again"
        if version != FORMAT:
            raise JournalError(f"{self.path}: of format {version}, this version writes {FORMAT}; {again}")
        if weights != self._head["weights"]:
            raise OtherWeightsError(
                f"{self.path}: its scores are of the weights {weights!r}, the server has {self._head['weights']!r}; "
                f"scores of two models can't be compared, so they don't go into one table: {again}"
            )
        if clips != self._head["clips"]:
            raise JournalError(
                f"{self.path}: its scores are of --clips {clips}, this run has --clips {self._head['clips']}; {again}"
            )

    def _append(self, entry: dict[str, Any]) -> None:
        # ASCII, so that names that are not UTF-8 come back as they were.
        line = json.dumps(entry, allow_nan=False).encode("ascii") + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced >= SYNC_S:
                os.fdatasync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise JournalError(
                f"{self.path}: can't be written ({error.strerror}); make room and start again to go on"
            ) from error
        self._end += len(line)
