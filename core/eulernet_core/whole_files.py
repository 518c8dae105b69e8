# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear complete or not at all, and checksums of files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces `path` when the block ends without an exception.

    A missing folder is made. The temporary file has a random name, so a link that somebody placed under a
    predictable name is never followed. Its bytes are on the disk before it takes the name. A block that writes nothing
    and removes the temporary file leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if temporary.exists():
            temporary.chmod(0o644)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> bool:
    """Writes `data` through a temporary file and a rename; False when the file already holds these bytes."""
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return False
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return True


def write_whole_text(path: Path, text: str) -> bool:
    """`write_whole` of UTF-8 text; characters that UTF-8 can't hold become question marks."""
    return write_whole(path, text.encode("utf-8", errors="replace"))


def replace_folder(out: Path, fill: Callable[[Path], None]) -> None:
    """Fills a fresh folder and puts it in place of `out`, in one step; on an exception `out` stays as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        fill(fresh)
        if out.exists():
            out.rename(Path(scratch) / "old")
        fresh.rename(out)


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None, wait: bool = True) -> Iterator[bool]:
    """One process at a time inside the block, by an advisory lock that a killed process gives up.

    Args:
        path: an existing folder, which is locked without a lock file, or a lock file, made with its folder if it is
            missing; a lock file stays.
        waiting: called once if another process holds the lock.
        wait: whether to wait for that process.
    Yields: whether this process holds the lock: False only without `wait`.
    """
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    # A lock file that is a link would make a file elsewhere.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(handle)
