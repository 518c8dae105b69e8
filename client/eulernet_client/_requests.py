# SPDX-License-Identifier: Apache-2.0
"""Builds requests and reads responses, without any connection."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from eulernet_client._replay import KeptFrame, KeptFrames
from eulernet_client._result import FrameResult, VideoResult
from eulernet_client.errors import FrameError, ResponseError, SequenceError, ServerError, StreamLostError
from eulernet_client.sources import REPEATED_PICTURES, SourceClip, SourceFrame
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.limits import LONGEST_SEQUENCE_ID, MIN_FACE_PX, STREAM_HEADER
from eulernet_core.status import Status
from eulernet_core.tensors import (
    CLIP_ENCODED,
    CLIP_MODEL,
    CLOSING_REQUEST_ID,
    ENCODED,
    FACE_BOX,
    FRAME_BYTES,
    FRAME_COUNT,
    LIVENESS,
    LOCATION_MAP,
    MAP_SIDE,
    OUTPUTS,
    STATUS,
    STREAM_MODEL,
)
from eulernet_core.weights_label import IDENTITY_PARAMETER, WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN

# Triton takes no tensor of zero bytes. The server answers one zero byte with UNDECODABLE, as it would an empty file.
NO_PICTURE = b"\0"
# What a flag says of a scored frame, and what it means for the score.
NOTES = {
    Status.SEVERAL_FACES: ("several faces", "the most prominent one was scored"),
    Status.SMALL_FACE: ("a small face", f"a judgement needs {MIN_FACE_PX} px; move closer or use a larger picture"),
    Status.DEGRADED: ("a blurred or compressed face", "too little detail to judge; use the original recording"),
}
_ALL_OUTPUTS = [InferRequestedOutput(name) for name in OUTPUTS]  # made once: a tenth of a stream's time in the client
_VERSIONS_DIFFER = "client and model repository are of different versions"


@dataclass(frozen=True)
class Call:
    """One inference request.

    Attributes:
        inputs: names of tensors, and a JPEG for each.
        chunk: instead, the JPEGs of several frames of a stream.
        headers: its own gRPC headers, beside those of the connection.
    """

    model: str
    inputs: tuple[tuple[str, bytes], ...] = ()
    sequence_id: int | str = 0
    start: bool = False
    end: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    chunk: tuple[bytes, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Arguments of tritonclient's `infer`. Each JPEG is a tensor uint8 (1, bytes)."""
        return {
            "model_name": self.model,
            "inputs": _chunk_tensors(self.chunk) if self.chunk else [_jpeg(name, data) for name, data in self.inputs],
            "outputs": _ALL_OUTPUTS,
            "sequence_id": self.sequence_id,
            "sequence_start": self.start,
            "sequence_end": self.end,
            "request_id": self.request_id,
        }


@dataclass(frozen=True)
class Answer:
    """A response, the number of the server that sent it, and the seconds that it took, retries included."""

    result: InferResult
    endpoint: int
    latency_s: float


def _jpeg(name: str, data: bytes) -> InferInput:
    return _tensor(name, np.frombuffer(data or NO_PICTURE, np.uint8))


def chunk_bytes(jpegs: Sequence[bytes]) -> int:
    """Bytes of frames in one request."""
    return sum(len(jpeg or NO_PICTURE) for jpeg in jpegs)


def _chunk_tensors(jpegs: Sequence[bytes]) -> list[InferInput]:
    pictures = [jpeg or NO_PICTURE for jpeg in jpegs]
    lengths = np.array([len(picture) for picture in pictures], np.int32)
    return [_jpeg(ENCODED, b"".join(pictures)), _tensor(FRAME_BYTES, lengths)]


def _tensor(name: str, values: npt.NDArray[np.uint8] | npt.NDArray[np.int32]) -> InferInput:
    tensor = InferInput(name, [1, len(values)], np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values[None])
    return tensor


def clip_call(jpegs: Sequence[bytes]) -> Call:
    """The request for one clip, to `antispoof_clip`."""
    if len(jpegs) != CLIP_FRAMES:
        raise ValueError(f"{len(jpegs)} frames: a clip has {CLIP_FRAMES}, every 3rd of its source")
    return Call(CLIP_MODEL, tuple(zip(CLIP_ENCODED, jpegs, strict=True)))


def frames_as_clip(jpegs: Sequence[bytes]) -> SourceClip:
    """A clip of JPEGs in memory."""
    return SourceClip(0, tuple(SourceFrame(i, f"frame {i}", jpeg) for i, jpeg in enumerate(jpegs)))


def _output(result: InferResult, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] | None = result.as_numpy(name)
    model = result.get_response().model_name
    if array is None:
        raise ResponseError(f"{model}: no {name} in the response; {_VERSIONS_DIFFER}")
    if array.dtype != dtype or array.shape != shape:
        raise ResponseError(
            f"{model}: {name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}; {_VERSIONS_DIFFER}"
        )
    if dtype is np.float32 and not np.isfinite(array).all():
        raise ResponseError(f"{model}: {name} holds a number that is not finite; check the weights and the engine")
    return array


def _parse(
    result: InferResult, scalar: tuple[int, ...], location_map: tuple[int, ...], box: tuple[int, ...]
) -> list[FrameResult]:
    """Reads the outputs.

    Args:
        scalar: shape of the outputs that have one number a frame.
        location_map, box: shapes of LOCATION_MAP and FACE_BOX.
    """
    liveness = _output(result, LIVENESS, np.float32, scalar).ravel()
    maps = _output(result, LOCATION_MAP, np.float32, location_map).reshape(-1, MAP_SIDE, MAP_SIDE)
    boxes = _output(result, FACE_BOX, np.float32, box).reshape(-1, 4)
    counts = _output(result, FRAME_COUNT, np.int32, scalar).ravel()
    status = _output(result, STATUS, np.int32, scalar).ravel()
    maps.setflags(write=False)
    return [
        FrameResult(i, float(liveness[i]), maps[i], _box(boxes[i]), int(counts[i]), Status(int(status[i])))
        for i in range(len(liveness))
    ]


def _box(row: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = row.tolist()
    return x0, y0, x1, y1


def parse_clip(result: InferResult) -> list[FrameResult]:
    """The four frames of a response of `antispoof_clip`: LIVENESS (1, T), LOCATION_MAP (1, T, 32, 32), …"""
    frames = (1, CLIP_FRAMES)
    return _parse(result, frames, (*frames, MAP_SIDE, MAP_SIDE), (*frames, 4))


def parse_frame(result: InferResult) -> FrameResult:
    """The frame of a response of `antispoof`: LIVENESS (1, 1), LOCATION_MAP (1, 32, 32), …"""
    return parse_chunk(result, 1)[0]


def parse_chunk(result: InferResult, frames: int) -> list[FrameResult]:
    """The frames of a response of `antispoof`: LIVENESS (1, F), LOCATION_MAP (1, F * 32, 32), FACE_BOX (1, F * 4), …"""
    return _parse(result, (1, frames), (1, frames * MAP_SIDE, MAP_SIDE), (1, frames * 4))


def clip_problem(path: str, frames: Sequence[FrameResult]) -> FrameError | ResponseError | None:
    """Why a clip has no score, or None: its last frame must be scored, with all T frames seen by the filter."""
    last = frames[-1]
    if last.status.usable and last.frame_count == CLIP_FRAMES:
        return None
    # A restart at the first frame loses nothing.
    for number, frame in enumerate(frames):
        error = frame.problem(path) or (frame.moved(path) if number and frame.status.restarted else None)
        if error is not None:
            return error
    return ResponseError(
        f"{path}: FRAME_COUNT is {last.frame_count} after {CLIP_FRAMES} scored frames; {_VERSIONS_DIFFER}"
    )


class SourceScores:
    """Collects the responses to one source's clips into its result."""

    def __init__(self, path: str, *, keep_jpegs: bool = False) -> None:
        self.path = path
        self._keep_jpegs = keep_jpegs
        self._scored: list[list[FrameResult]] = []
        self._problems: list[FrameError | ResponseError] = []
        self._notes: Counter[str] = Counter()  # warnings about the clips' frames
        self._latency_s = 0.0

    def add(self, clip: SourceClip, answer: Answer) -> None:
        """Adds the response to one clip."""
        frames = [
            replace(
                frame,
                index=source.index,
                name=source.name,
                clip=clip.number,
                jpeg=source.jpeg if self._keep_jpegs else None,
            )
            for frame, source in zip(parse_clip(answer.result), clip.frames, strict=True)
        ]
        self._latency_s += answer.latency_s
        problem = clip_problem(self.path, frames)
        self._notes.update(clip.warnings)
        if problem is None:
            self._scored.append(frames)
        else:
            self._problems.append(problem)

    def refused(self, error: FrameError) -> None:
        """Adds a clip that was not sent."""
        self._problems.append(error)

    @property
    def scored(self) -> bool:
        """Whether any clip has a score yet."""
        return bool(self._scored)

    def result(self, weights: str) -> VideoResult:
        """The source's result, with a warning about the clips that have no score.

        Raises:
            FrameError: no clip was scored; the first one's error.
        """
        if not self._scored:
            raise self._problems[0]
        frames = tuple(frame for clip in self._scored for frame in clip)
        total = len(self._scored) + len(self._problems)
        warnings = [f"{len(self._problems)} of {total} clips not scored: {error}" for error in self._problems[:1]]
        for note, count in self._notes.items():
            warnings.append(note if count == total else f"{count} of {total} clips: {note}")
        warnings += _frame_notes(frames)
        if REPEATED_PICTURES not in self._notes and any(frame.status & Status.REPEATED for frame in frames):
            warnings.append(REPEATED_PICTURES)
        return VideoResult(
            path=self.path,
            liveness=sum(clip[-1].liveness for clip in self._scored) / len(self._scored),
            frames=frames,
            weights=weights,
            latency_s=self._latency_s,
            warnings=tuple(warnings),
        )


def _frame_notes(frames: Sequence[FrameResult]) -> list[str]:
    """A warning for each flag that scored frames carry."""
    counts = {flag: sum(bool(frame.status & flag) for frame in frames) for flag in NOTES}
    return [
        f"{what} in {counts[flag]} of {len(frames)} frames: {meaning}"
        for flag, (what, meaning) in NOTES.items()
        if counts[flag]
    ]


class StreamState:
    """Order of one stream's frames, START with the first and END with the last, and the frames kept for a replay.

    Args:
        sequence_id: correlation id, a number from 1 to 2**63 - 1 or a text of up to 128 characters; random by default.
        replay_bytes: bound of the kept frames. 0: a frame that fails after START loses the stream.
    """

    def __init__(self, sequence_id: int | str | None = None, replay_bytes: float = 0.0) -> None:
        if sequence_id is None:
            sequence_id = secrets.randbelow(2**63 - 1) + 1
        if isinstance(sequence_id, str) and not 0 < len(sequence_id) <= LONGEST_SEQUENCE_ID:
            raise ValueError(f"sequence_id of {len(sequence_id)} characters: give 1 to {LONGEST_SEQUENCE_ID}")
        if isinstance(sequence_id, int) and not 0 < sequence_id < 2**63:
            raise ValueError(f"sequence_id={sequence_id}: give a number from 1 to 2**63 - 1")
        self.sequence_id = sequence_id
        # Not the correlation id, which is a secret: gateways keep this value in tables and may log it.
        self.headers = {STREAM_HEADER: secrets.token_hex(16)}
        self.replays = replay_bytes > 0
        self.kept = KeptFrames(replay_bytes)
        self._frames = 0
        self.begun = False  # a frame was answered
        self.served = False  # the server has the state that belongs to the next frame
        self._anew = False
        self._ended = False
        self._loss: BaseException | None = None

    @property
    def frames(self) -> int:
        """Number of frames answered so far."""
        return self._frames

    def check_open(self) -> None:
        """Raises before a frame of a stream that takes none.

        Raises:
            StreamLostError: an earlier frame was lost; `__cause__` is its error.
            SequenceError: the stream has ended.
        """
        if self._loss is not None:
            raise self._lost("an earlier frame was lost") from self._loss
        if self._ended:
            raise SequenceError(f"stream {self.sequence_id}: has ended; open another one")

    def call(self, jpegs: Sequence[bytes], last: bool) -> Call:
        """The request for the next frames, with START if no server has the state before them."""
        return self._call(*jpegs, start=not self.served, end=last)

    def replay_call(self, kept: KeptFrame, *, start: bool) -> Call:
        """The request for a kept frame."""
        return self._call(kept.jpeg, start=start)

    def rebuilt(self) -> None:
        """All kept frames were replayed, in order; without any, the next frame starts the stream."""
        self.served, self._anew = len(self.kept) > 0, False

    def start_anew(self) -> None:
        """The next frame's request carries START, although frames that count came before it."""
        self.served, self._anew = False, True

    def answered(self, answer: Answer, jpegs: Sequence[bytes], last: bool) -> list[FrameResult]:
        """Takes the response to the latest request. Raises: ResponseError."""
        first, self._frames = self._frames, self._frames + len(jpegs)
        self.begun, self.served, self._ended = True, not self.replays, last
        frames = [
            replace(frame, index=index, name=f"frame {index}", started_anew=self._anew and index == first)
            for index, frame in enumerate(parse_chunk(answer.result, len(jpegs)), first)
        ]
        self.served, self._anew = True, False
        if self.replays:
            for jpeg, frame in zip(jpegs, frames, strict=True):
                self.kept.add(jpeg, frame)
        return frames

    def failed(self, error: BaseException, *, final: bool = False) -> bool:
        """Takes the failure of the latest request. Returns whether the stream is lost.

        Until START is answered nothing is lost: the first frame may be sent again. Afterwards the filter may or may not
        have seen the frame, and would filter a second copy again. With kept frames its state is built anew instead.

        Args:
            error: of the frame.
            final: kept frames do not help.
        """
        self.served = False
        if self.begun and (final or not self.replays):
            self._loss = error
        return self._loss is not None

    def lost(self, error: ServerError) -> StreamLostError:
        """The error to raise in place of one that lost the stream."""
        return self._lost(str(error))

    def closing_call(self) -> Call | None:
        """The request that frees the server's slot, or None if the stream holds none.

        END needs a frame, and the stream's last one was sent without it. One byte that is not a JPEG carries END: the
        server answers UNDECODABLE and leaves the state unchanged.
        """
        if self._ended or not self.begun:
            return None
        self._ended = True
        return replace(self._call(NO_PICTURE, end=True), request_id=CLOSING_REQUEST_ID)

    def _call(self, *jpegs: bytes, start: bool = False, end: bool = False) -> Call:
        chunk = jpegs if len(jpegs) > 1 else ()
        inputs = () if chunk else ((ENCODED, jpegs[0]),)
        return Call(STREAM_MODEL, inputs, self.sequence_id, start, end, self.headers, chunk=chunk)

    def _lost(self, reason: str) -> StreamLostError:
        return StreamLostError(
            f"stream {self.sequence_id}: {reason}; open a new stream and play it again from its first frame"
        )


@dataclass(frozen=True)
class ServedModel:
    """The label of a server's weights, and its identity; "unknown" for what it does not report."""

    weights: str = WEIGHTS_UNKNOWN
    identity: str = WEIGHTS_UNKNOWN

    @property
    def described(self) -> str:
        """The label in quotes, and the identity."""
        return f"{self.weights!r} ({self.identity})"


def served_model(config: Any) -> ServedModel:
    """Reads a model configuration (the protobuf response of `get_model_config`)."""
    parameters = config.config.parameters
    values = [
        parameters[name].string_value if name in parameters else "" for name in (WEIGHTS_PARAMETER, IDENTITY_PARAMETER)
    ]
    return ServedModel(*(value or WEIGHTS_UNKNOWN for value in values))
