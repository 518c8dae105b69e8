# SPDX-License-Identifier: Apache-2.0
"""Scores clips as a user of OpenCV and ONNX Runtime would, for both Python servers.

The box rule is the project's, so that all ways score the same face; everything else is written for the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
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
from eulernet_core.tensors import FACE_SIDE_PX, LIVENESS, usable_clips
from eulernet_serving.face_locating import letterbox
from eulernet_serving.face_resizing import resize_face
from eulernet_serving.jpeg_decoding import thumbnail
from eulernet_serving.region_decoding import decode_region


@dataclass(frozen=True)
class Threads:
    """`pool`: threads that decode and crop, 0 for the caller's; `onnxruntime`: of one inference, 0 for its default."""

    pool: int
    onnxruntime: int


class Scorer:
    """Scores batches of clips; several threads may share one.

    Args:
        detector, network: the graphs of the face detector and of the clip network.
        threads: numbers of threads.
    """

    def __init__(self, detector: Path, network: Path, threads: Threads) -> None:
        cv2.setNumThreads(1)  # several pictures in parallel use the cores better than one picture in parts
        self._detector = session(detector, threads.onnxruntime)
        self._network = session(network, threads.onnxruntime)
        self._pool = ThreadPoolExecutor(threads.pool) if threads.pool else None

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Scores clips as one batch.

        Returns: float32 (clips, 4), LIVENESS after each frame.
        Raises: UnscorableError.
        """
        pictures = mapped(self._pool, decoded, [jpeg for clip in clips for jpeg in clip.jpegs])
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
        boxes_of_frames = np.repeat(squares, CLIP_FRAMES, axis=0)
        jpegs = [jpeg if clip.exact else None for clip in clips for jpeg in clip.jpegs]
        faces = mapped(self._pool, _crop, list(zip(pictures, boxes_of_frames, jpegs, strict=True)))
        inputs = usable_clips(np.stack(faces).reshape(-1, CLIP_FRAMES, FACE_SIDE_PX, FACE_SIDE_PX, 3))
        liveness: NDArray[np.float32] = self._network.run([LIVENESS], inputs)[0]
        return liveness


def mapped(pool: Executor | None, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Results of `work` for each item, by the pool's threads or by the caller's."""
    return list(map(work, items) if pool is None else pool.map(work, items))


def session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    """A graph on the processor. `threads`: of one inference, 0 for the default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), BGR, upright. Raises: UnscorableError."""
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


def _crop(each: tuple[NDArray[np.uint8], NDArray[np.int32], bytes | None]) -> NDArray[np.uint8]:
    """The box of a picture, uint8 (256, 256, 3), RGB. With its JPEG it is decoded and shrunk as by this project's
    server."""
    picture, box, jpeg = each
    face = np.empty((FACE_SIDE_PX, FACE_SIDE_PX, 3), np.uint8)
    if jpeg is not None:
        resize_face(decode_region(np.frombuffer(jpeg, np.uint8), box.astype(np.float32)), face)
        return face
    x0, y0, x1, y1 = box
    filter_ = cv2.INTER_AREA if y1 - y0 > FACE_SIDE_PX else cv2.INTER_LINEAR
    cv2.resize(picture[y0:y1, x0:x1], (FACE_SIDE_PX, FACE_SIDE_PX), dst=face, interpolation=filter_)
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2RGB), np.uint8)
