# SPDX-License-Identifier: Apache-2.0
"""Journal of a batch: a file beside the table, with a line of JSON for each finished source.

The first line names the weights, their precision and the clips of each source. A line is written by one call and never
changed. It ends with a checksum of itself and of the line before, which finds lines that were changed, lost or added. A
run that is killed leaves at most one broken line, at the end; opening the journal cuts it off, and its source is scored
again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from eulernet_client._requests import ServedModel
from eulernet_client.batch.row import Row, Scored
from eulernet_client.errors import JournalError, OtherWeightsError
from eulernet_client.media_kinds import is_frame_name

FORMAT = 3
LONGEST_HEAD = 1 << 16  # bytes of the first line; another kind of file may have no line breaks
SUM_DIGITS = 16
SYNC_S = 5.0  # a kill loses nothing; a power failure loses up to this many seconds of scores


class Entry(NamedTuple):
    """The newest line of a source: its place in the file (bytes), and `mark` and `final` of its `Scored`."""

    offset: int
    length: int
    mark: str
    final: bool


def fingerprint(path: Path) -> str:
    """Changes with the source: size and modification time of the video, or of all frames of the folder; "" if they
    can't be read."""
    try:
        if not path.is_dir():
            return _size_and_time(path.stat())
        with os.scandir(path) as entries:  # half the time of Path.iterdir, for hundreds of frames
            found = sorted((each.name, _size_and_time(each.stat())) for each in entries if is_frame_name(each.name))
    except OSError:
        return ""
    text = "\n".join(f"{name}\0{about}" for name, about in found)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _size_and_time(found: os.stat_result) -> str:
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"


def _options(head: dict[str, Any]) -> str:
    """The options of a run that its scores depend on."""
    # Journals of earlier versions do not name the second one, and begin clips at their places.
    return f"--clips {head['clips']}" + (" --at-keyframes" if head.get("at_keyframes") else "")


class Journal:
    """Opens or creates a journal, and locks it until it is closed. Use it in a `with` block.

    Args:
        path: the file.
        model: label and identity of the served weights.
        clips: clips of each source.
        at_keyframes: whether they begin at keyframes.

    Raises:
        OtherWeightsError: its scores are of other weights, or of another precision.
        JournalError: another run has it open, it has other settings, it is not a journal or a link to one, a line is
            damaged or was edited, or it can't be opened.
    """

    def __init__(self, path: Path, model: ServedModel, clips: int, at_keyframes: bool = False) -> None:
        self.path, self.model = path, model
        self.entries: dict[str, Entry] = {}
        self._head = {"eulernet_journal": FORMAT, **asdict(model), "clips": clips, "at_keyframes": at_keyframes}
        self._synced = time.monotonic()
        self._sum = ""
        self._file = _opened(path)
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
        """Appends a source's row. `key`: the source's absolute path."""
        entry = {"key": key, "mark": scored.mark, "final": scored.final, "row": scored.row}
        offset = self._end
        self._append(entry)
        self.entries[key] = Entry(offset, self._end - offset, scored.mark, scored.final)

    def void(self, keys: Iterable[str]) -> None:
        """Withdraws sources, so that a later run scores them again."""
        for key in keys:
            if self.entries.pop(key, None):
                self._append({"void": key})

    def row(self, key: str) -> Row:
        """The newest row of a source."""
        entry = self.entries[key]
        row: Row = json.loads(os.pread(self._file.fileno(), entry.length, entry.offset))["row"]
        return row

    def close(self) -> None:
        """Closes the file and releases the lock."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system when this process ends
        except BlockingIOError as error:
            raise JournalError(
                f"{self.path}: another run is writing it; wait for it or choose another --out"
            ) from error
        except OSError as error:
            raise JournalError(f"{self.path}: can't be locked ({error.strerror}); choose another --out") from error

    def _read(self) -> int:
        """Fills `entries`. Returns the end of the last whole line, in bytes."""
        with os.fdopen(os.dup(self._file.fileno()), "rb") as lines:
            lines.seek(0)
            first = lines.readline(LONGEST_HEAD)
            if not first:
                return 0
            self._compare(first)
            end = len(first)
            for number, line in enumerate(lines, 2):
                if not self._take(line, end):
                    if lines.readline():
                        raise self._damaged(number)
                    break
                end += len(line)
        return end

    def _take(self, line: bytes, offset: int) -> bool:
        """Remembers a line. Returns whether it is as it was written."""
        if not line.endswith(b"\n"):
            return False
        sum_now = line_sum(self._sum, line[:-_TAIL])
        if line[-_TAIL:] != _tail(sum_now):
            return False
        try:
            self._remember(json.loads(line), offset, len(line))
        except (ValueError, KeyError, TypeError):
            return False
        self._sum = sum_now
        return True

    def _damaged(self, number: int) -> JournalError:
        return JournalError(
            f"{self.path}: line {number} is damaged or was changed; restore the file, or keep its first {number - 1} "
            f"lines (head -n {number - 1}) to score the sources of the others again"
        )

    def _remember(self, entry: dict[str, Any], offset: int, length: int) -> None:
        if "void" in entry:
            self.entries.pop(entry["void"], None)
        else:
            self.entries[entry["key"]] = Entry(offset, length, entry["mark"], entry["final"])

    def _compare(self, first: bytes) -> None:
        try:
            head = json.loads(first)
            version, given = head["eulernet_journal"], _options(head)
            model = ServedModel(head["weights"], head["identity"]) if version == FORMAT else None
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(f"{self.path}: not a journal of scores; move it away or choose another --out") from error
        again = f"choose another --out, or delete {self.path} and its table to score everything again"
        if model is None:
            raise JournalError(
                f"{self.path}: a journal of format {version}, this version continues format {FORMAT} only; {again}"
            )
        if model != self.model:
            raise OtherWeightsError(
                f"{self.path}: its scores are of the weights {model.described}, the server has {self.model.described}; "
                f"a table holds the scores of one model in one precision: {again}"
            )
        if given != _options(self._head):
            raise JournalError(f"{self.path}: its scores have {given}, this run has {_options(self._head)}; {again}")
        self._sum = line_sum("", first[:-_TAIL])
        if first[-_TAIL:] != _tail(self._sum):
            raise JournalError(f"{self.path}: line 1 is damaged or was changed; {again}")

    def _append(self, entry: dict[str, Any]) -> None:
        # ASCII, which preserves file names that are not UTF-8.
        body = json.dumps(entry, allow_nan=False).encode("ascii").removesuffix(b"}")
        total = line_sum(self._sum, body)
        line = body + _tail(total)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced >= SYNC_S:
                os.fdatasync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise JournalError(
                f"{self.path}: can't be written ({error.strerror}); free some space and start again to continue"
            ) from error
        self._end += len(line)
        self._sum = total


def line_sum(before: str, body: bytes) -> str:
    """Checksum of a line.

    Args:
        before: the checksum of the line before; "" for the first one.
        body: the line up to its checksum.
    """
    return hashlib.blake2b(before.encode("ascii") + body, digest_size=SUM_DIGITS // 2).hexdigest()


def _tail(total: str) -> bytes:
    """The end of a line's JSON, with its checksum."""
    return f', "sum": "{total}"}}\n'.encode("ascii")


_TAIL = len(_tail("0" * SUM_DIGITS))


def _opened(path: Path) -> BinaryIO:
    """Opens a journal to read and append. Raises: JournalError."""
    try:
        # A link could lead the scores into any file of the user's.
        handle = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666
        )
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise JournalError(f"{path}: is a link; remove it, or choose another --out") from error
        raise JournalError(f"{path}: can't be opened ({error.strerror}); choose another --out") from error
    file = os.fdopen(handle, "a+b", buffering=0)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise JournalError(f"{path}: not a regular file; remove it, or choose another --out")
    return file
