# SPDX-License-Identifier: Apache-2.0
"""Scores clips as deployments of Silent-Face-Anti-Spoofing do: every frame alone, by two MiniFASNets, then the mean.

Each frame is detected, since the method knows no clip: by EulerNet's detector, which costs less than the method's own,
or by that one's shape in OpenCV's DNN module, as there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.body import Clip, UnscorableError
from benchmarks.peers.scorer import Threads, decoded, mapped, session
from eulernet.peers.minifasnet_window import window
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.face_box import MIN_SCORE, unletterbox_box
from eulernet_core.limits import FACE_TOO_SMALL
from eulernet_serving.face_locating import letterbox

Picture = NDArray[np.uint8]

OWN_SIDE_PX = 192  # the method's own detector sees a picture of this square's area, with the picture's aspect ratio
OWN_MEAN = (104.0, 117.0, 123.0)  # of blue, green and red, subtracted


def own_input_size(width: int, height: int) -> tuple[int, int]:
    """Width and height in px of the own detector's input for a picture of this size."""
    aspect = math.sqrt(width / height)
    return int(OWN_SIDE_PX * aspect), int(OWN_SIDE_PX / aspect)


class _Judge:
    """One network and its crop."""

    def __init__(self, graph: Path, threads: int) -> None:
        self._session = session(graph, threads)
        facts = self._session.get_modelmeta().custom_metadata_map
        (image,) = self._session.get_inputs()
        self._name, self.side_px = image.name, int(image.shape[-1])
        self.crop_scale, self._live_class = float(facts["crop_scale"]), int(facts["live_class"])

    def __call__(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """float32 (N,), the share of the class of live faces, of crops uint8 (side, side, 3) BGR."""
        images = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
        (logits,) = self._session.run(None, {self._name: images})
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares[:, self._live_class] / shares.sum(axis=1), np.float32)


Boxes = Callable[[Executor | None, Sequence[Picture]], list[NDArray[np.float32]]]
"""float32 (4,), x0, y0, x1, y1 px, for each picture uint8 (H, W, 3) BGR, by the threads of a pool."""


class SharedDetector:
    """EulerNet's face detector, in ONNX Runtime."""

    def __init__(self, graph: Path, threads: int) -> None:
        self._session = session(graph, threads)

    def __call__(self, pool: Executor | None, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """See Boxes. Raises: UnscorableError."""
        letterboxes = mapped(pool, letterbox, pictures)
        images = np.stack([image[..., ::-1] for image, _ in letterboxes])
        boxes, scores = self._session.run(["BOX", "SCORE"], {"IMAGE": images})
        if scores.min() < MIN_SCORE:
            raise UnscorableError(f"no face in a frame: {FACE_TOO_SMALL}")
        sides = [np.array(picture.shape[1::-1] * 2, np.float32) for picture in pictures]
        return [
            np.asarray(unletterbox_box(box, square) * side, np.float32)
            for box, (_, square), side in zip(boxes, letterboxes, sides, strict=True)
        ]


class OwnDetector:
    """The method's own detector with random weights: it takes its time, and the box is the middle of the picture.

    Args:
        graphs: folder with `WIDTHxHEIGHT.onnx` for each frame size, see silent_face_graphs.py.
    """

    def __init__(self, graphs: Path) -> None:
        self._graphs = graphs
        self._of_thread = threading.local()  # OpenCV's networks serve one thread at a time

    def __call__(self, pool: Executor | None, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """See Boxes. Raises: UnscorableError if there is no graph for a picture's size."""
        return mapped(pool, self._box, pictures)

    def _box(self, picture: Picture) -> NDArray[np.float32]:
        height, width = picture.shape[:2]
        network = self._network(f"{width}x{height}")
        image = cv2.resize(picture, own_input_size(width, height), interpolation=cv2.INTER_LINEAR)
        network.setInput(cv2.dnn.blobFromImage(image, 1.0, mean=OWN_MEAN))
        _, scores = network.forward(("BOX", "SCORE"))
        assert np.isfinite(scores.max())
        return np.array([width / 4, height / 4, 3 * width / 4, 3 * height / 4], np.float32)

    def _network(self, size: str) -> cv2.dnn.Net:
        networks: dict[str, cv2.dnn.Net] = self._of_thread.__dict__
        if size not in networks:
            graph = self._graphs / f"{size}.onnx"
            if not graph.is_file():
                raise UnscorableError(f"no detector for frames of {size} px")
            networks[size] = cv2.dnn.readNetFromONNX(str(graph))
        return networks[size]


class SilentFaceScorer:
    """Scores batches of clips; several threads may share one.

    Args:
        boxes: finds the faces.
        graphs: folder of the networks' graphs, see silent_face_graphs.py.
        threads: numbers of threads.
    """

    def __init__(self, boxes: Boxes, graphs: Path, threads: Threads) -> None:
        cv2.setNumThreads(1)
        self._boxes = boxes
        self._judges = [_Judge(graph, threads.onnxruntime) for graph in sorted(graphs.glob("*.onnx"))]
        self._pool = ThreadPoolExecutor(threads.pool) if threads.pool else None

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Scores clips as one batch.

        Returns: float32 (clips, 4), the mean score of the frames so far.
        Raises: UnscorableError.
        """
        pictures = mapped(self._pool, decoded, [jpeg for clip in clips for jpeg in clip.jpegs])
        boxes = self._boxes(self._pool, pictures)
        scores = np.zeros(len(pictures), np.float32)
        for judge in self._judges:
            faces = [(picture, box, judge) for picture, box in zip(pictures, boxes, strict=True)]
            scores += judge(mapped(self._pool, _crop, faces)) / len(self._judges)
        sums = np.cumsum(scores.reshape(-1, CLIP_FRAMES), axis=1)
        return np.asarray(sums / np.arange(1, CLIP_FRAMES + 1), np.float32)


def _crop(face: tuple[Picture, NDArray[np.float32], _Judge]) -> Picture:
    picture, box, judge = face
    left, top, right, bottom = window(box, judge.crop_scale, *picture.shape[:2])
    return np.asarray(cv2.resize(picture[top:bottom, left:right], (judge.side_px, judge.side_px)), np.uint8)
