# SPDX-License-Identifier: Apache-2.0
"""The loads of a round: several clips at once, twice as many, one clip alone, and clips at random times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_loadtest.plan import Mode, Plan

OFFERED_SHARE = 0.7  # of FastAPI's throughput in the same round
OFFERED_LENGTH = 2.0  # times the length of a closed loop: a p99 needs many clips
# A clip that is sent as a stream is there at once.
WHOLE_CLIP_FPS = 1000.0
NEVER_LATE_S = 3600.0


class Kind(str, Enum):
    """The load of one measurement."""

    AT_ONCE = "at once"
    TWICE = "twice as many at once"
    ALONE = "one alone"
    OFFERED = "offered"


# The additional loads of a way, at the frame size with targets for them.
MORE_LOADS: dict[str, tuple[Kind, ...]] = {
    "a": (Kind.ALONE, Kind.OFFERED),
    "c": (Kind.TWICE, Kind.ALONE, Kind.OFFERED),
    "d": (Kind.TWICE, Kind.OFFERED),
    "c1": (Kind.TWICE, Kind.ALONE, Kind.OFFERED),
    "d1": (Kind.TWICE, Kind.OFFERED),
    "d48": (Kind.TWICE,),
    "d148": (Kind.TWICE,),
    "dp": (Kind.TWICE, Kind.OFFERED),
    "d1p": (Kind.TWICE, Kind.OFFERED),
    "d4": (Kind.TWICE,),
    "d14": (Kind.TWICE,),
}


@dataclass(frozen=True)
class Streams:
    """`frames`: of a stream; None: those of a clip. `chunk`: of a stream in one request; `in_flight`: most of a stream
    without an answer."""

    frames: int | None = None
    chunk: int = 1
    in_flight: int = 1


CLIPS_AS_STREAMS = Streams()
LONG_STREAMS = Streams(48)  # as from a camera: the face is searched for in every tenth frame, not in every fourth
CHUNKED_STREAMS = Streams(48, 4)
PIPELINED_STREAMS = Streams(48, in_flight=CLIP_FRAMES)  # as many frames without an answer as with clip calls


@dataclass(frozen=True)
class LoadSettings:
    """`seconds`, `warm_up_s`: length of a measured load, and of the load before it; `concurrency`: clips in progress,
    for all ways."""

    seconds: float
    warm_up_s: float
    concurrency: int

    def plan(self, kind: Kind, clips_per_s: float | None = None) -> Plan:
        """One measured load of clip calls. `clips_per_s`: rate of Kind.OFFERED."""
        if kind is Kind.OFFERED:
            return Plan(
                Mode.CLIPS,
                rate_hz=clips_per_s,
                duration_s=OFFERED_LENGTH * self.seconds,
                warm_up_s=self.warm_up_s,
            )
        at_once = {Kind.AT_ONCE: self.concurrency, Kind.TWICE: 2 * self.concurrency, Kind.ALONE: 1}
        return Plan(Mode.CLIPS, at_once[kind], duration_s=self.seconds, warm_up_s=self.warm_up_s)

    def words(self, kind: Kind) -> str:
        """The load as text: `16 at once`."""
        at_once = {Kind.AT_ONCE: f"{self.concurrency} at once", Kind.TWICE: f"{2 * self.concurrency} at once"}
        return at_once.get(kind, "one clip alone" if kind is Kind.ALONE else "at random times")


def as_streams(plan: Plan, streams: Streams = CLIPS_AS_STREAMS) -> Plan:
    """The same load, sent as streams; at random times, each clip is a stream of its frames."""
    if plan.rate_hz is None:
        shape: dict[str, Any] = {"chunk_frames": streams.chunk, "stream_frames": streams.frames}
    else:
        shape = {"fps": WHOLE_CLIP_FPS, "late_s": NEVER_LATE_S, "stream_frames": CLIP_FRAMES}
    return replace(plan, mode=Mode.STREAMS, frames_in_flight=streams.in_flight, **shape)


def offered_clips_per_s(frames_per_s: float) -> float:
    """The rate of Kind.OFFERED, from FastAPI's throughput with Kind.AT_ONCE."""
    return OFFERED_SHARE * frames_per_s / CLIP_FRAMES
