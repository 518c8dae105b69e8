# SPDX-License-Identifier: Apache-2.0
"""The plan of one run of a load test: load, schedule and duration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.limits import MAX_CHUNK_FRAMES
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL


class Mode(str, Enum):
    """The ensemble to call."""

    CLIPS = "clips"
    STREAMS = "streams"

    @property
    def model(self) -> str:
        """The ensemble's name."""
        return CLIP_MODEL if self is Mode.CLIPS else STREAM_MODEL

    @property
    def frames_per_request(self) -> int:
        return CLIP_FRAMES if self is Mode.CLIPS else 1


class Arrivals(str, Enum):
    """Spacing of the open loop's arrivals."""

    POISSON = "poisson"
    CONSTANT = "constant"


@dataclass(frozen=True)
class Plan:
    """One run. Exactly one of `concurrency` and `rate_hz` is given.

    Attributes:
        mode: clip calls, or streams of single frames.
        concurrency: closed loop: number of clip calls, or streams, in progress.
        rate_hz: open loop: clips, or streams, that start each second, independent of answers.
        arrivals: spacing of the open loop's arrivals.
        fps: frame rate of a stream; None: a frame follows an answer, which an open loop of streams does not allow.
        stream_frames: length of a stream; None: its source's length.
        chunk_frames: frames of a stream in one request, 1 to MAX_CHUNK_FRAMES; more than 1 only without `fps`.
        frames_in_flight: most frames of a stream without an answer. The client puts those that wait into one request,
            so a frame counts as sent when the client has it.
        duration_s: length of the measured window.
        warm_up_s: load before the window, which is not measured.
        late_s: latency above which an answer is late; None: one frame's time if `fps` is given, otherwise no limit.
        seed: of the Poisson arrivals and of the streams' phases.
    """

    mode: Mode = Mode.STREAMS
    concurrency: int | None = None
    rate_hz: float | None = None
    arrivals: Arrivals = Arrivals.POISSON
    fps: float | None = None
    stream_frames: int | None = None
    chunk_frames: int = 1
    frames_in_flight: int = 1
    duration_s: float = 10.0
    warm_up_s: float = 2.0
    late_s: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate_hz is None):
            raise ValueError(f"concurrency={self.concurrency}, rate_hz={self.rate_hz}: give one of them")
        for name in ("concurrency", "rate_hz", "fps", "stream_frames", "duration_s", "late_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: must be above 0")
        if self.warm_up_s < 0:
            raise ValueError(f"warm_up_s={self.warm_up_s}: must not be below 0")
        if self.mode is Mode.CLIPS and (self.fps is not None or self.stream_frames is not None):
            raise ValueError("fps and stream_frames apply to streams only, not to clip calls")
        if not 1 <= self.chunk_frames <= MAX_CHUNK_FRAMES:
            raise ValueError(f"chunk_frames={self.chunk_frames}: must be 1 to {MAX_CHUNK_FRAMES}")
        if self.chunk_frames > 1 and (self.mode is Mode.CLIPS or self.fps is not None):
            raise ValueError("chunk_frames applies to streams without fps: a camera's next frames are not there yet")
        if self.frames_in_flight < 1:
            raise ValueError(f"frames_in_flight={self.frames_in_flight}: must be at least 1")
        if self.frames_in_flight > 1 and (self.mode is Mode.CLIPS or self.chunk_frames > 1):
            raise ValueError("frames_in_flight applies to streams of single frames")
        if self.mode is Mode.STREAMS and self.rate_hz is not None and self.fps is None:
            raise ValueError("fps=None: an open loop of streams (rate_hz) needs a frame rate, such as 10")

    @property
    def frames_per_request(self) -> int:
        """Frames of a request; the last one of a stream may have fewer."""
        return self.mode.frames_per_request if self.chunk_frames == 1 else self.chunk_frames

    @property
    def closed(self) -> bool:
        """Whether a request is sent upon an answer, so that it has no scheduled time."""
        return self.rate_hz is None and self.fps is None

    @property
    def late_after_s(self) -> float | None:
        """Latency in s above which an answer is late; None: no limit."""
        if self.late_s is not None:
            return self.late_s
        return None if self.fps is None else 1 / self.fps

    @property
    def load(self) -> str:
        """The load as text: `8 streams at 10 fps`."""
        paced = f" at {self.fps:g} fps" if self.fps is not None else ""
        if self.chunk_frames > 1:
            paced = f", {self.chunk_frames} frames a request"
        if self.frames_in_flight > 1:
            paced += f", {self.frames_in_flight} frames in flight"
        if self.rate_hz is not None:
            return f"{self.rate_hz:g} {self.mode.value}/s, {self.arrivals.value}{paced}"
        one = self.mode.value.removesuffix("s")
        return f"{self.concurrency} {one if self.concurrency == 1 else self.mode.value}{paced}"
