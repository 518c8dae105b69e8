# SPDX-License-Identifier: Apache-2.0
"""The frames from which a server can rebuild the state of a stream that another server has lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eulernet_core.status import NOT_SCORED, Status

if TYPE_CHECKING:
    from eulernet_client._result import FrameResult

DEFAULT_REPLAY_MB = 64.0
MEGABYTE = 1 << 20
_RECORD_BYTES = 256  # of Python objects beside each frame's JPEG


@dataclass(frozen=True)
class KeptFrame:
    """A frame and the FRAME_COUNT that it was answered with."""

    jpeg: bytes
    frame_count: int


class KeptFrames:
    """The frames since the stream's START, or since the last scored frame with RELOCATED.

    A relocated face starts the filter and the face lock anew, as START does, so no earlier frame affects a score. The
    filter's starts between them leave the face lock as it is.

    Args:
        limit_bytes: with more than this nothing is kept until such a frame comes again; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: float) -> None:
        self._limit_bytes = limit_bytes
        self._frames: list[KeptFrame] = []
        self._bytes = 0
        self._face_gone = False
        self.complete = True  # whether the kept frames rebuild the state

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[KeptFrame]:
        return iter(self._frames)

    def add(self, jpeg: bytes, frame: FrameResult) -> None:
        """Takes an answered frame; `frame.started_anew` or RELOCATED drop the frames before it."""
        if frame.started_anew or frame.status.restarted:
            self._drop(complete=True)
        gone = frame.status & NOT_SCORED == Status.NO_FACE
        # Without a face the lock is empty; a further frame without one, or one before the first face, changes nothing.
        unchanged = gone and (self._face_gone or not self._frames)
        self._face_gone = gone
        if unchanged or not self.complete:
            return
        self._frames.append(KeptFrame(jpeg, frame.frame_count))
        self._bytes += len(jpeg) + _RECORD_BYTES
        if self._bytes > self._limit_bytes:
            self._drop(complete=False)

    def _drop(self, *, complete: bool) -> None:
        self._frames, self._bytes, self._face_gone, self.complete = [], 0, False, complete
