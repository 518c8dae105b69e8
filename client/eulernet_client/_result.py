"""What the client hands back: frozen records of frames, clips and the server's health."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eulernet_client._contract import (
    LIVE_THRESHOLD,
    MIN_FACE_WIDTH_PERCENT,
    Status,
)
from eulernet_client.errors import FaceMovedError, FrameError, NoFaceError, TooLargeError, UndecodableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# The worst first: one frame can carry several flags.
_PROBLEMS: tuple[tuple[Status, type[FrameError], str], ...] = (
    (Status.TOO_LARGE, TooLargeError, "the picture is over the server's pixel limit; scale it down"),
    (Status.UNDECODABLE, UndecodableError, "not a JPEG that can be decoded; export this frame again"),
    (
        Status.NO_FACE,
        NoFaceError,
        f"no face found; the face must be at least {MIN_FACE_WIDTH_PERCENT} % of the frame's width and in full view",
    ),
)
_MOVED = "the face moved out of its box within the clip; choose a calmer part of the video"


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame.

    Attributes:
        index: number of the frame in its source (video, folder or stream), from 0.
        liveness: 0 (attack) to 1 (live); 0 where the frame was not scored.
        location_map: float32 (32, 32), row 0 at the top of the face box, read-only.
        box: face box x0, y0, x1, y1 in pixels of the upright source frame; zeros while no face is known.
        frame_count: frames the temporal filter has seen since it last began.
        status: what became of the frame.
        name: how error texts call the frame.
        clip: which of the source's clips it belongs to, from 0.
        jpeg: the bytes sent, where they were asked for.
    """

    index: int
    liveness: float
    location_map: npt.NDArray[np.float32] = field(repr=False)
    box: tuple[float, float, float, float]
    frame_count: int
    status: Status
    name: str = ""
    clip: int = 0
    jpeg: bytes | None = field(default=None, repr=False)

    def problem(self, path: str = "") -> FrameError | None:
        """The error that says why this frame was not scored, or None."""
        if self.status.usable:
            return None
        for flag, kind, text in _PROBLEMS:
            if self.status & flag:
                return kind(self._located(path, text), path=path, index=self.index)
        return FrameError(self._located(path, f"unknown STATUS {int(self.status)}"), path=path, index=self.index)

    def moved(self, path: str = "") -> FaceMovedError:
        """The error for a face that was found elsewhere at this frame."""
        return FaceMovedError(self._located(path, _MOVED), path=path, index=self.index)

    def raise_for_status(self, path: str = "") -> None:
        """Raise the FrameError that says why this frame was not scored, if it was not."""
        error = self.problem(path)
        if error is not None:
            raise error

    def _located(self, path: str, text: str) -> str:
        place = self.name or f"frame {self.index}"
        return f"{path}: {place}: {text}" if path else f"{place}: {text}"

    def to_dict(self, *, location_map: bool = False) -> dict[str, Any]:
        """For JSON; with `location_map`, the map as rows of numbers."""
        row: dict[str, Any] = {
            "index": self.index,
            "clip": self.clip,
            "liveness": self.liveness,
            "box": list(self.box),
            "frame_count": self.frame_count,
            "status": self.status.label,
        }
        if location_map:
            row["location_map"] = self.location_map.tolist()
        return row


@dataclass(frozen=True, eq=False)
class ClipResult:
    """One video or folder.

    Attributes:
        path: as it was given.
        liveness: liveness at the clip's last frame; over several clips, their mean.
        frames: the frames of all scored clips, in order.
        weights: label of the weights that scored, "unknown" where the server does not tell.
        latency_s: time spent waiting for the server, retries included.
        warnings: what the reader of the score should know.
    """

    path: str
    liveness: float
    frames: tuple[FrameResult, ...]
    weights: str
    latency_s: float
    warnings: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """True for live (bona fide), False for an attack."""
        return self.liveness >= LIVE_THRESHOLD

    @property
    def verdict(self) -> str:
        """`live` or `attack`."""
        return "live" if self.live else "attack"

    @property
    def frames_used(self) -> int:
        """How many frames went into the score."""
        return len(self.frames)

    @property
    def ms_per_frame(self) -> float:
        """Waiting time for the server over the frames used, ms."""
        return 1000 * self.latency_s / max(1, self.frames_used)

    def to_dict(self, *, location_maps: bool = False) -> dict[str, Any]:
        """For JSON: plain numbers, all finite."""
        return {
            "path": self.path,
            "verdict": self.verdict,
            "liveness": self.liveness,
            "frames_used": self.frames_used,
            "latency_s": self.latency_s,
            "weights": self.weights,
            "warnings": list(self.warnings),
            "frames": [frame.to_dict(location_map=location_maps) for frame in self.frames],
        }


@dataclass(frozen=True)
class Health:
    """A server that answered a clip and a stream.

    Attributes:
        url: the server asked first.
        server_version: Triton's version.
        models: the models that are ready.
        weights: label of the weights.
        clip_s: time of one clip call.
        stream_s: time of one stream frame.
    """

    url: str
    server_version: str
    models: tuple[str, ...]
    weights: str
    clip_s: float
    stream_s: float
