# SPDX-License-Identifier: Apache-2.0
"""STATUS: the result of one frame, as bit flags. Every stage of the ensembles, the client and the reports use it."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """Bit flags of one frame. A value below NO_FACE means that the frame was scored; any other value means that the
    frame left the filter's state unchanged."""

    OK = 0
    SEVERAL_FACES = 1
    RELOCATED = 2
    NO_FACE = 4
    UNDECODABLE = 8
    TOO_LARGE = 16

    @property
    def usable(self) -> bool:
        """Whether the frame was scored."""
        return int(self) < int(Status.NO_FACE)

    @property
    def restarted(self) -> bool:
        """Whether the face was found elsewhere, so that the filter restarted at this frame."""
        return self.usable and bool(self & Status.RELOCATED)

    @property
    def label(self) -> str:
        """The names of the flags, for people and JSON: `OK`, `SEVERAL_FACES|RELOCATED`."""
        known = [flag.name or "" for flag in _FLAGS if self & flag]
        rest = int(self) & ~sum(_FLAGS)
        return "|".join([*known, *([str(rest)] if rest else [])]) or "OK"


_FLAGS = (Status.SEVERAL_FACES, Status.RELOCATED, Status.NO_FACE, Status.UNDECODABLE, Status.TOO_LARGE)
