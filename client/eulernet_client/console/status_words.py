# SPDX-License-Identifier: Apache-2.0
"""STATUS and verdict of one frame of a stream in words, for the page."""

from __future__ import annotations

from eulernet_client._requests import NOTES
from eulernet_client._result import PROBLEMS, FrameResult
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.status import Status
from eulernet_core.weights_label import LIVE_THRESHOLD

# Flags that matter in a stream only; the other texts are those of `eulernet score`.
_STREAM_NOTES = {
    Status.RELOCATED: ("the face was found elsewhere", "the filter started again"),
    Status.REPEATED: ("the same picture as before", "the camera is frozen, or its frames are repeated"),
}
LIVE, ATTACK, GATHERING, UNSCORED = "live", "attack", "gathering", "unscored"


def verdict(frame: FrameResult) -> str:
    """`live` or `attack` once the filter has seen a clip's frames, `gathering` before, `unscored` without a score."""
    if not frame.status.usable:
        return UNSCORED
    if frame.frame_count < CLIP_FRAMES:
        return GATHERING
    return LIVE if frame.liveness >= LIVE_THRESHOLD else ATTACK


class HeldVerdict:
    """The verdict of a stream, frame by frame. The filters start anew after some frames; the verdict stays then."""

    def __init__(self) -> None:
        self._settled = GATHERING

    def of(self, frame: FrameResult) -> tuple[str, bool]:
        """The verdict as of the next frame, and whether it is that of an earlier frame."""
        found = verdict(frame)
        if found == GATHERING and not (frame.started_anew or frame.status.restarted):
            return self._settled, self._settled != GATHERING
        self._settled = found if found in (LIVE, ATTACK) else GATHERING
        return found, False


def words(status: Status) -> list[dict[str, str]]:
    """The flags of a STATUS: `flag`, its name; `kind`, "problem" or "warning"; `text`; `advice`."""
    found = []
    for flag, _, text in PROBLEMS:
        if status & flag:
            what, _, advice = text.partition("; ")
            found.append(_entry(flag, "problem", what, advice))
    for flag, (what, advice) in (NOTES | _STREAM_NOTES).items():
        if status & flag:
            found.append(_entry(flag, "warning", what, advice))
    return found


def _entry(flag: Status, kind: str, text: str, advice: str) -> dict[str, str]:
    return {"flag": flag.name or "", "kind": kind, "text": text, "advice": advice}
