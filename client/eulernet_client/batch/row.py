"""One source as one row of the table: the columns, and how results and errors become rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from eulernet_client._contract import Status
from eulernet_client._result import ClipResult
from eulernet_client.errors import (
    EulerNetError,
    FrameError,
    MediaError,
    MissingFileError,
    UnreadableFileError,
)

Kind = Literal["text", "texts", "number", "numbers", "count"]
Row = dict[str, Any]  # the names of COLUMNS; plain values, as JSON has them

# In the table's order. A source that was not scored has no verdict, liveness and box, but an error.
COLUMNS: dict[str, Kind] = {
    "path": "text",  # as it was given or found
    "verdict": "text",  # live or attack
    "liveness": "number",  # 0 to 1; the mean over the clips
    "clip_liveness": "numbers",  # of each scored clip, in order
    "box": "numbers",  # x0, y0, x1, y1 in px of the upright frame, at the end of the first scored clip
    "frames": "count",  # frames that went into the score
    "status": "text",  # the STATUS flags of all frames that were sent; nothing where none was
    "warnings": "texts",
    "error_type": "text",
    "error": "text",
    "weights": "text",  # label of the weights that scored
    "seconds": "number",  # reading and decoding, and waiting for the server
}


@dataclass(frozen=True)
class Scored:
    """One source, done with.

    Attributes:
        row: for the table.
        mark: the source's `fingerprint` before it was read.
        final: whether scoring the same files again would say the same.
        error: why it was not scored, or None.
    """

    row: Row
    mark: str
    final: bool
    error: Exception | None


def scored_row(result: ClipResult, status: Status, seconds: float) -> Row:
    """The row of a source that has a score."""
    ends = {frame.clip: frame for frame in result.frames}  # the last frame of each clip stays
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
    """The row of a source that has none. `status`: flags of the frames that were sent, if any were."""
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
        "error": str(error) if foreseen else f"{path}: {error!r} was not foreseen; report it with this file",
        "weights": weights,
        "seconds": round(seconds, 4),
    }


def is_final(error: Exception) -> bool:
    """Whether the error lies in the files themselves, so that it will be the same as long as they are."""
    if isinstance(error, MissingFileError | UnreadableFileError):
        return False  # a disk comes back, permissions change
    return isinstance(error, MediaError | FrameError)
