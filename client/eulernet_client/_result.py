# SPDX-License-Identifier: Apache-2.0
"""Results: frozen records of frames, of videos and folders, and of a server's health."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eulernet_client.errors import FaceMovedError, FrameError, NoFaceError, TooLargeError, UndecodableError
from eulernet_core.limits import FACE_TOO_SMALL
from eulernet_core.status import Status
from eulernet_core.weights_label import LIVE_THRESHOLD

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# In order of precedence: one frame can carry several flags.
PROBLEMS: tuple[tuple[Status, type[FrameError], str], ...] = (
    (Status.TOO_LARGE, TooLargeError, "the picture is over the server's pixel limit; scale it down"),
    (Status.UNDECODABLE, UndecodableError, "not a JPEG that can be decoded; export this frame again"),
    (Status.NO_FACE, NoFaceError, f"no face found; {FACE_TOO_SMALL}"),
)
_MOVED = "the face moved out of its box within the clip; choose a calmer part of the video"


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame.

    Attributes:
        index: number of the frame in its source (video, folder or stream), from 0.
        liveness: 0 (attack) to 1 (live); 0 for a frame that was not scored.
        location_map: float32 (32, 32), row 0 at the top of the face box, read-only.
        box: face box x0, y0, x1, y1 in pixels of the upright source frame; zeros until a face is found.
        frame_count: frames that the temporal filter has seen since its last start.
        status: STATUS flags of the frame.
        name: the frame's name in error messages.
        clip: number of its clip in the source, from 0.
        jpeg: the bytes sent, if `keep_jpegs` was given.
        started_anew: the stream's server failed, more frames were needed to rebuild its state than the client keeps,
            and the filter started again at this frame.
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
    started_anew: bool = False

    def problem(self, path: str = "") -> FrameError | None:
        """The error of a frame that was not scored, or None."""
        if self.status.usable:
            return None
        for flag, kind, text in PROBLEMS:
            if self.status & flag:
                return kind(self._located(path, text), path=path, index=self.index)
        return FrameError(self._located(path, f"unknown STATUS {int(self.status)}"), path=path, index=self.index)

    def moved(self, path: str = "") -> FaceMovedError:
        """The error for a face that the detector found elsewhere at this frame."""
        return FaceMovedError(self._located(path, _MOVED), path=path, index=self.index)

    def raise_for_status(self, path: str = "") -> None:
        """Raises the FrameError of a frame that was not scored."""
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
            "started_anew": self.started_anew,
        }
        if location_map:
            row["location_map"] = self.location_map.tolist()
        return row


@dataclass(frozen=True, eq=False)
class VideoResult:
    """One video or folder of JPEGs.

    Attributes:
        path: as given.
        liveness: liveness at the clip's last frame; the mean over several clips.
        frames: the frames of all scored clips, in order.
        weights: label of the weights, "unknown" if the server does not report it.
        latency_s: time spent waiting for the server, retries included.
        warnings: notes about the score, such as several faces in the picture.
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
        """Number of frames in the score."""
        return len(self.frames)

    @property
    def ms_per_frame(self) -> float:
        """Waiting time for the server divided by the frames used, ms."""
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
    """A server that answered a clip and a stream frame.

    Attributes:
        url: the client's first server.
        server_version: Triton's version.
        models: the ensembles, all ready.
        weights: label of the weights.
        identity: hash of the weights and the precision, such as `1a2b3c4d5e6f7a8b int8`.
        clip_s: duration of one clip call.
        stream_s: duration of one stream frame.
    """

    url: str
    server_version: str
    models: tuple[str, ...]
    weights: str
    identity: str
    clip_s: float
    stream_s: float
