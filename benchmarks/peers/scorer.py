"""A clip's scores as a user of OpenCV and ONNX Runtime would compute them: what both Python servers serve.

The box rule is the model repository's own, so that all ways score the same face; everything else is written anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.peers.body import FRAMES, Clip, UnscorableError

FACE_SIDE_PX = 256


@dataclass(frozen=True)
class Threads:
    """`pool`: that decode and crop, 0 for the caller's own; `onnxruntime`: of one inference, 0 for its default."""

    pool: int
    onnxruntime: int


class Scorer:
    """Scores batches of clips; one may be used by several threads.

    Args:
        repository: a complete model repository, for the two graphs and the box rule.
        threads: how many.
    """

    def __init__(self, repository: Path, threads: Threads) -> None:
        cv2.setNumThreads(1)  # several pictures at once make better use of the cores than one picture in parts
        sys.path.append(str(repository / "face_locate" / "1"))
        self._rule: Any = import_module("locate")
        self._jpeg: Any = import_module("jpeg")
        self._detector = _session(repository / "face_detector" / "1" / "model.onnx", threads.onnxruntime)
        self._net = _session(repository / "eulernet_clip" / "1" / "model.onnx", threads.onnxruntime)
        self._pool = ThreadPoolExecutor(threads.pool) if threads.pool else None
        self._settings = self._rule.Settings()

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Scores clips as one batch.

        Returns: float32 (clips, 4), LIVENESS after each frame.
        Raises: UnscorableError.
        """
        pictures = self._map(_decode, [jpeg for clip in clips for jpeg in clip.jpegs])
        firsts = pictures[::FRAMES]
        letterboxes = [self._letterbox(clip, picture) for clip, picture in zip(clips, firsts, strict=True)]
        images = np.stack([image for image, _ in letterboxes])
        boxes, scores = self._detector.run(["BOX", "SCORE"], {"IMAGE": images})
        if scores.min() < self._settings.min_score:
            raise UnscorableError("no face in the first frame; it must fill 15 % of the frame's width")
        squares = [
            self._square(box, square, picture)
            for box, (_, square), picture in zip(boxes, letterboxes, firsts, strict=True)
        ]
        faces = self._map(_crop, list(zip(pictures, np.repeat(squares, FRAMES, axis=0), strict=True)))
        inputs = {
            "FACE": np.stack(faces).reshape(-1, FRAMES, FACE_SIDE_PX, FACE_SIDE_PX, 3),
            "STATUS": np.zeros((len(clips), FRAMES), np.int32),
        }
        liveness: NDArray[np.float32] = self._net.run(["LIVENESS"], inputs)[0]
        return liveness

    def _map(self, work: Any, items: Sequence[Any]) -> list[Any]:
        return list(map(work, items) if self._pool is None else self._pool.map(work, items))

    def _letterbox(self, clip: Clip, first: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What the detector sees of the first frame, RGB, and the corners of that in shares of the frame."""
        if clip.exact:
            header = self._jpeg.Header(0, first.shape[1], first.shape[0])
            encoded = np.frombuffer(clip.jpegs[0], np.uint8)
            return self._rule.letterbox(self._jpeg.thumbnail(encoded, header, self._rule.DETECTOR_SIDE_PX))  # type: ignore[no-any-return]
        image, square = self._rule.letterbox(first)
        return image[..., ::-1], square

    def _square(
        self, box: NDArray[np.float32], square: NDArray[np.float32], picture: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        header = self._jpeg.Header(0, picture.shape[1], picture.shape[0])
        found = self._rule.square_box(self._rule.unletterbox(box, square), header, self._settings.box_scale)
        corners: NDArray[np.int32] = found.astype(np.int32)
        return corners


def _session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _decode(jpeg: bytes) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) BGR, upright."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UnscorableError("a frame is no JPEG that can be decoded")
    return np.asarray(picture, np.uint8)


def _crop(each: tuple[NDArray[np.uint8], NDArray[np.int32]]) -> NDArray[np.uint8]:
    """The box of a picture, uint8 (256, 256, 3) RGB."""
    picture, (x0, y0, x1, y1) = each
    filter_ = cv2.INTER_AREA if y1 - y0 > FACE_SIDE_PX else cv2.INTER_LINEAR
    face = cv2.resize(picture[y0:y1, x0:x1], (FACE_SIDE_PX, FACE_SIDE_PX), interpolation=filter_)
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_BGR2RGB), np.uint8)
