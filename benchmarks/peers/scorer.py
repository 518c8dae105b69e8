# SPDX-License-Identifier: Apache-2.0
"""Scores clips as a user of OpenCV and ONNX Runtime would, for both Python servers.

The box rule is the project's, so that all ways score the same face; everything else is written for the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.peers.body import Clip, UnscorableError
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import DETECTOR_SIDE_PX, MIN_SCORE, square_box, unletterbox_box
from eulernet_core.jpeg import Header
from eulernet_core.limits import FACE_TOO_SMALL
from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_NETWORK_MODEL, FACE_DETECTOR_MODEL, FACE_SIDE_PX, LIVENESS, usable_clips
from eulernet_serving.face_locating import letterbox
from eulernet_serving.jpeg_decoding import thumbnail


@dataclass(frozen=True)
class Threads:
    """`pool`: threads that decode and crop, 0 for the caller's; `onnxruntime`: of one inference, 0 for its default."""

    pool: int
    onnxruntime: int


class Scorer:
    """Scores batches of clips; several threads may share one.

    Args:
        repository: a complete model repository, for the two graphs.
        threads: numbers of threads.
    """

    def __init__(self, repository: Path, threads: Threads) -> None:
        cv2.setNumThreads(1)  # several pictures in parallel use the cores better than one picture in parts
        self._detector = _session(repository, FACE_DETECTOR_MODEL, threads.onnxruntime)
        self._network = _session(repository, CLIP_NETWORK_MODEL, threads.onnxruntime)
        self._pool = ThreadPoolExecutor(threads.pool) if threads.pool else None

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Scores clips as one batch.

        Returns: float32 (clips, 4), LIVENESS after each frame.
        Raises: UnscorableError.
        """
        pictures = self._map(_decode, [jpeg for clip in clips for jpeg in clip.jpegs])
        firsts = pictures[::CLIP_FRAMES]
        letterboxes = [_letterbox(clip, picture) for clip, picture in zip(clips, firsts, strict=True)]
        images = np.stack([image for image, _ in letterboxes])
        boxes, scores = self._detector.run(["BOX", "SCORE"], {"IMAGE": images})
        if scores.min() < MIN_SCORE:
            raise UnscorableError(f"no face in the first frame: {FACE_TOO_SMALL}")
        squares = [
            square_box(unletterbox_box(box, square), picture.shape[1], picture.shape[0]).astype(np.int32)
            for box, (_, square), picture in zip(boxes, letterboxes, firsts, strict=True)
        ]
        faces = self._map(_crop, list(zip(pictures, np.repeat(squares, CLIP_FRAMES, axis=0), strict=True)))
        inputs = usable_clips(np.stack(faces).reshape(-1, CLIP_FRAMES, FACE_SIDE_PX, FACE_SIDE_PX, 3))
        liveness: NDArray[np.float32] = self._network.run([LIVENESS], inputs)[0]
        return liveness

    def _map(self, work: Any, items: Sequence[Any]) -> list[Any]:
        return list(map(work, items) if self._pool is None else self._pool.map(work, items))


def _session(repository: Path, model: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = repository / model / "1" / "model.onnx"
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _decode(jpeg: bytes) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), BGR, upright."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UnscorableError("a frame is not a JPEG that can be decoded")
    return np.asarray(picture, np.uint8)


def _letterbox(clip: Clip, first: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The detector's input for the first frame, RGB, and its corners in shares of the frame."""
    if not clip.exact:
        image, square = letterbox(first)
        return image[..., ::-1], square
    header = Header(Status.OK, first.shape[1], first.shape[0])
    small = thumbnail(np.frombuffer(clip.jpegs[0], np.uint8), header, DETECTOR_SIDE_PX)
    assert small is not None  # `first` is the same JPEG, decoded
    return letterbox(small)


def _crop(each: tuple[NDArray[np.uint8], NDArray[np.int32]]) -> NDArray[np.uint8]:
    """The box of a picture, uint8 (256, 256, 3), RGB."""
    picture, (x0, y0, x1, y1) = each
    filter_ = cv2.INTER_AREA if y1 - y0 > FACE_SIDE_PX else cv2.INTER_LINEAR
    face = cv2.resize(picture[y0:y1, x0:x1], (FACE_SIDE_PX, FACE_SIDE_PX), interpolation=filter_)
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2RGB), np.uint8)
