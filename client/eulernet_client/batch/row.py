# SPDX-License-Identifier: Apache-2.0
"""The table's columns, and the rows of results and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from eulernet_client._result import VideoResult
from eulernet_client.errors import (
    EulerNetError,
    FrameError,
    MediaError,
    MissingFileError,
    UnreadableFileError,
)
from eulernet_core.status import Status

Kind = Literal["text", "texts", "number", "numbers", "count"]
Row = dict[str, Any]  # keys: COLUMNS, without `identity` in a journal, whose head has it; values: plain, as in JSON

# In the table's order. A source that was not scored has an error instead of verdict, liveness and box.
COLUMNS: dict[str, Kind] = {
    "path": "text",  # as given or found
    "verdict": "text",  # live or attack
    "liveness": "number",  # 0 to 1; the mean over the clips
    "clip_liveness": "numbers",  # of each scored clip, in order
    "box": "numbers",  # x0, y0, x1, y1 in px of the upright frame, at the end of the first scored clip
    "frames": "count",  # frames in the score
    "status": "text",  # STATUS flags of all frames that were sent; empty if none was
    "warnings": "texts",
    "error_type": "text",
    "error": "text",
    "weights": "text",  # label of the served weights
    "identity": "text",  # their hash, and the precision in which they are computed
    "seconds": "number",  # reading, decoding and waiting for the server
}


@dataclass(frozen=True)
class Scored:
    """One finished source.

    Attributes:
        row: for the table.
        mark: the source's `fingerprint` before it was read.
        final: whether scoring the same files again would give the same row.
        error: the error of a source that was not scored, or None.
    """

    row: Row
    mark: str
    final: bool
    error: Exception | None


def scored_row(result: VideoResult, status: Status, seconds: float) -> Row:
    """The row of a source that has a score."""
    ends = {frame.clip: frame for frame in result.frames}  # keeps the last frame of each clip
    first = next(iter(ends.values()))
    return {
        "path": result.path,
        "verdict": result.verdict,
        "liveness": result.liveness,
        "clip_liveness": [frame.liveness for frame in ends.values()],
        "box": [round(edge, 2) for edge in first.box],
        "frames": result.frames_used,
        "status": status.label,
        "warnings": list(result.warnings),
        "error_type": None,
        "error": None,
        "weights": result.weights,
        "seconds": round(seconds, 4),
    }


def error_row(path: str, error: Exception, status: Status | None, weights: str, seconds: float) -> Row:
    """The row of a source without a score. `status`: flags of the frames that were sent, None if none was."""
    foreseen = isinstance(error, EulerNetError)
    return {
        "path": path,
        "verdict": None,
        "liveness": None,
        "clip_liveness": [],
        "box": None,
        "frames": 0,
        "status": None if status is None else status.label,
        "warnings": [],
        "error_type": type(error).__name__,
        "error": str(error) if foreseen else f"{path}: unexpected {error!r}; report it with this file",
        "weights": weights,
        "seconds": round(seconds, 4),
    }


def is_final(error: Exception) -> bool:
    """Whether the error lies in the files, and stays until they change."""
    if isinstance(error, MissingFileError | UnreadableFileError):
        return False  # a disk may return, permissions may change
    return isinstance(error, MediaError | FrameError)
