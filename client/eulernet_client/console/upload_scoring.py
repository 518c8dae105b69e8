# SPDX-License-Identifier: Apache-2.0
"""Scores one uploaded file: into a private folder, through the client library, and away again."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from eulernet_client._result import VideoResult
from eulernet_client.aio import AsyncClient
from eulernet_client.errors import EulerNetError

MAX_UPLOAD_BYTES = 2 << 30
LONGEST_NAME = 120  # characters kept of a file's name
WRITE_BYTES = 1 << 20


class TooLongUploadError(Exception):
    """An upload is over MAX_UPLOAD_BYTES."""


def safe_name(name: str) -> str:
    """A name for a file in a folder of its own, from the name that a page gave: no folders, no control characters."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each if each.isprintable() else "_" for each in last).lstrip(".")
    stem, suffix = Path(kept).stem, Path(kept).suffix[:16]
    return (stem[: LONGEST_NAME - len(suffix)].encode()[:200].decode(errors="ignore") + suffix) or "upload"


async def score_upload(
    client: AsyncClient, name: str, body: AsyncIterator[bytes], clips: int
) -> VideoResult | EulerNetError:
    """Scores the bytes of a video under its own name, with its pictures kept for a report.

    Args:
        client: open.
        name: of the file, as `safe_name` gives it.
        body: the file's bytes.
        clips: as for Client.score.
    Raises:
        TooLongUploadError: the file is too large.
        OSError: there is no place for the file.
    """
    with tempfile.TemporaryDirectory(prefix="eulernet-console-") as folder:
        path = Path(folder) / name
        await _written(path, body)
        try:
            return replace(await client.score(path, clips=clips, keep_jpegs=True), path=name)
        except EulerNetError as error:
            return type(error)(str(error).replace(str(path), name))


async def _written(path: Path, body: AsyncIterator[bytes]) -> None:
    size, waiting = 0, bytearray()
    with path.open("wb") as file:
        async for part in body:
            size += len(part)
            if size > MAX_UPLOAD_BYTES:
                raise TooLongUploadError(f"{path.name}: over {MAX_UPLOAD_BYTES >> 30} GB; run  eulernet score FILE")
            waiting += part
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(file.write, bytes(waiting))
