# SPDX-License-Identifier: Apache-2.0
"""STATUS: the result of one frame, as bit flags. Every stage of the ensembles, the client and the reports use it."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """Bit flags of one frame.

    A frame with NO_FACE, UNDECODABLE or TOO_LARGE is not scored and leaves the filter's state unchanged, unless
    RELOCATED is set too: then the filter restarts at the next scored frame. Every other flag is a note about a scored
    frame: a caller tests `STATUS & 28 == 0`, not `STATUS < 4`.
    """

    OK = 0
    SEVERAL_FACES = 1
    RELOCATED = 2
    NO_FACE = 4
    UNDECODABLE = 8
    TOO_LARGE = 16
    SMALL_FACE = 32
    DEGRADED = 64
    REPEATED = 128

    @property
    def usable(self) -> bool:
        """Whether the frame was scored."""
        return not self & NOT_SCORED

    @property
    def restarted(self) -> bool:
        """Whether the frame was scored and the face was found elsewhere, so that the filter restarted at it."""
        return self.usable and bool(self & Status.RELOCATED)

    @property
    def label(self) -> str:
        """The names of the flags, for people and JSON: `OK`, `SEVERAL_FACES|RELOCATED`."""
        known = [flag.name or "" for flag in _FLAGS if self & flag]
        rest = int(self) & ~sum(_FLAGS)
        return "|".join([*known, *([str(rest)] if rest else [])]) or "OK"


NOT_SCORED = Status.NO_FACE | Status.UNDECODABLE | Status.TOO_LARGE
_FLAGS = tuple(flag for flag in Status if flag)
