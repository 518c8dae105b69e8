"""What the client and the model repository have agreed on: names of models and tensors, the clip's shape, STATUS."""

from __future__ import annotations

from enum import IntFlag

STREAM_MODEL = "antispoof"
CLIP_MODEL = "antispoof_clip"

CLIP_FRAMES = 4  # T: frames of one clip
FRAME_INTERVAL = 3  # a clip takes every 3rd source frame
CLIP_SPAN = (CLIP_FRAMES - 1) * FRAME_INTERVAL + 1  # source frames from a clip's first frame to its last, both included
MAP_SIDE = 32

ENCODED = "ENCODED"
CLIP_ENCODED = tuple(f"{ENCODED}_{number}" for number in range(CLIP_FRAMES))
LIVENESS = "LIVENESS"
LOCATION_MAP = "LOCATION_MAP"
FACE_BOX = "FACE_BOX"
FRAME_COUNT = "FRAME_COUNT"
STATUS = "STATUS"
OUTPUTS = (LIVENESS, LOCATION_MAP, FACE_BOX, FRAME_COUNT, STATUS)

WEIGHTS_PARAMETER = "weights"  # model configuration parameter that carries the label of the weights
WEIGHTS_UNKNOWN = "unknown"
WEIGHTS_UNTRAINED = "untrained"
WEIGHTS_SIMULATED = "simulated"  # stands in the label of weights that never saw a real attack


def weights_warning(label: str) -> str:
    """What a reader of verdicts must know of the weights; empty where there is nothing."""
    if label == WEIGHTS_UNTRAINED:
        return "verdicts mean nothing yet"
    if label == WEIGHTS_UNKNOWN:
        return "the server does not tell which ones scored"
    if WEIGHTS_SIMULATED in label:
        return "verdicts are proven on simulated attacks only"
    return ""


LIVE_THRESHOLD = 0.5  # liveness from here up is called live (bona fide)
MIN_FACE_WIDTH_PERCENT = 15  # short-range BlazeFace finds faces of this share of the frame's width and up


class Status(IntFlag):
    """STATUS of one frame, bit flags. Below NO_FACE the frame was scored; from there up it left the state as it was."""

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
        """Whether the face was found elsewhere, so that the filter began again at this frame."""
        return self.usable and bool(self & Status.RELOCATED)

    @property
    def label(self) -> str:
        """The flags' names for people and JSON: `OK`, `SEVERAL_FACES|RELOCATED`."""
        known = [flag.name or "" for flag in _FLAGS if self & flag]
        rest = int(self) & ~sum(_FLAGS)
        return "|".join([*known, *([str(rest)] if rest else [])]) or "OK"


_FLAGS = (Status.SEVERAL_FACES, Status.RELOCATED, Status.NO_FACE, Status.UNDECODABLE, Status.TOO_LARGE)
