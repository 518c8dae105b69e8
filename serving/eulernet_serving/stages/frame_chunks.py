# SPDX-License-Identifier: Apache-2.0
"""Chunks: the frames of one request of a stream, in order. Most requests have one frame.

The tensors of a chunk's frames lie behind each other in the first dimension after that of the batch: of F frames
LIVENESS is (1, F), LOCATION_MAP (1, F * 32, 32) and FACE_BOX (1, F * 4), so a chunk of one has the shapes of a frame.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from eulernet_core.limits import MAX_CHUNK_BYTES, MAX_CHUNK_FRAMES
from eulernet_core.tensors import ENCODED, FACE, FACE_BOX, FACE_SIDE_PX, FRAME_BYTES, NETWORK_INPUTS, STATUS
from eulernet_serving.stages.stage import MalformedRequestError, read

Result = TypeVar("Result")
Rows = Mapping[str, NDArray[Any]]


def encoded_frames(request: Any) -> list[NDArray[np.uint8]]:
    """The JPEGs of a request, each uint8 (bytes,). Raises: MalformedRequestError."""
    encoded = read(request, ENCODED).reshape(-1)
    given = pb_utils.get_input_tensor_by_name(request, FRAME_BYTES)
    if given is None:
        return [encoded]
    lengths = given.as_numpy().reshape(-1).astype(np.int64)
    if not 1 <= len(lengths) <= MAX_CHUNK_FRAMES:
        raise MalformedRequestError(f"{FRAME_BYTES} has {len(lengths)} numbers: send 1 to {MAX_CHUNK_FRAMES} frames")
    if len(encoded) > MAX_CHUNK_BYTES:
        raise MalformedRequestError(f"{ENCODED} has {len(encoded)} bytes: a chunk has at most {MAX_CHUNK_BYTES}")
    if lengths.min() < 1 or lengths.sum() != len(encoded):
        raise MalformedRequestError(
            f"{FRAME_BYTES} is {lengths.tolist()}: give the length of each JPEG in {ENCODED}, together {len(encoded)}"
        )
    return np.split(encoded, np.cumsum(lengths)[:-1])


def cropped_frames(request: Any) -> list[dict[str, NDArray[Any]]]:
    """FACE (1, 256, 256, 3), STATUS (1, 1) and FACE_BOX (1, 4) of each frame. Raises: MalformedRequestError."""
    chunk = {name: read(request, name) for name in NETWORK_INPUTS}
    count = chunk[STATUS].size
    shapes = {FACE: (FACE_SIDE_PX, FACE_SIDE_PX, 3), STATUS: (1,), FACE_BOX: (4,)}
    for name, shape in shapes.items():
        whole = (1, count * shape[0], *shape[1:])
        if not 1 <= count <= MAX_CHUNK_FRAMES or chunk[name].shape != whole:
            raise MalformedRequestError(
                f"{name} is {chunk[name].shape} beside {STATUS} of {count} frames: expected {whole}, and at most "
                f"{MAX_CHUNK_FRAMES} frames"
            )
    return [{name: chunk[name].reshape(count, 1, *shapes[name])[i] for name in shapes} for i in range(count)]


def joined(frames: Sequence[Rows]) -> dict[str, NDArray[Any]]:
    """The tensors of a chunk, from those of its frames, each with the dimensions (1, ...)."""
    if len(frames) == 1:
        return dict(frames[0])
    return {name: np.concatenate([frame[name] for frame in frames], axis=1) for name in frames[0]}


def side_by_side(lengths: Sequence[int], advance: Callable[[int, list[int]], Sequence[Result]]) -> list[list[Result]]:
    """Goes through several chunks at once: the first frame of each, then the second of those that have one, …

    Args:
        lengths: of the chunks, in frames.
        advance: takes a frame's number and the numbers of the chunks that have it; returns the result of each.

    Returns: the results of each chunk, in order.
    """
    results: list[list[Result]] = [[] for _ in lengths]
    for frame in range(max(lengths, default=0)):
        chunks = [number for number, length in enumerate(lengths) if frame < length]
        for number, result in zip(chunks, advance(frame, chunks), strict=True):
            results[number].append(result)
    return results
