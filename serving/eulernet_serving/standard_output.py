# SPDX-License-Identifier: Apache-2.0
"""Redirects the process's standard output, C's `printf` included, while a library runs that prints."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def standard_output_to(file: Path | None) -> Iterator[None]:
    """To a file, or to nowhere (None): standard output may be a protocol or a user's."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    kept = os.dup(1)
    with (file or Path(os.devnull)).open("wb") as sink:
        os.dup2(sink.fileno(), 1)
    try:
        yield
    finally:
        flush(None)  # C's own buffer
        os.dup2(kept, 1)
        os.close(kept)
