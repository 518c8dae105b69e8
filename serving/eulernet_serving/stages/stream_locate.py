# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof` on a GPU: checks the JPEG, finds the face at the start of a sequence and holds its box.

A bad frame gets an answer, not an error: an error would swallow the frame's START or END before later stages see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import CHECKED, FACE_BOX, STATUS, STREAM_MODEL
from eulernet_serving.core_shares import OPENCV_THREADS
from eulernet_serving.face_locating import Detector, Located, LocateSettings, Locator, Lock
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.sequence_store import SequenceStore
from eulernet_serving.stages.frame_chunks import encoded_frames, side_by_side
from eulernet_serving.stages.frame_metrics import FrameMetrics, is_counted
from eulernet_serving.stages.remote_detector import detect
from eulernet_serving.stages.stage import Answer, SequenceParameters, SequenceStage, respond


@dataclass(frozen=True)
class StreamLocateParameters(LocateSettings, SequenceParameters):
    """`parameters` of this model's configuration."""


class StreamLocate(SequenceStage[Lock]):
    """ENCODED uint8 (1, bytes) -> CHECKED uint8 (1, bytes), FACE_BOX float32 (1, 4), STATUS int32 (1, 1)."""

    admits = True

    def set_up(self, args: Mapping[str, str]) -> None:
        """Reads the parameters."""
        self.begin(read_parameters(args["model_config"], StreamLocateParameters), detect)

    def begin(self, parameters: StreamLocateParameters, detector: Detector) -> None:
        """Keeps a lock for each sequence."""
        cv2.setNumThreads(OPENCV_THREADS)
        self.keep_states(SequenceStore(Lock, parameters))
        self.locate = Locator(parameters, detector)
        self._frames = FrameMetrics(self.metrics, STREAM_MODEL) if parameters.count_frames else None

    def check(self, request: Any) -> None:
        """Checks the frames' lengths. Raises: MalformedRequestError."""
        encoded_frames(request)

    def step(self, requests: Sequence[Any], states: Sequence[Lock]) -> list[tuple[Lock | None, Answer]]:
        """A chunk of each of several sequences."""
        locks = [replace(state) for state in states]
        answers = self.answers(located_chunks(self.locate, requests, locks))
        if self._frames is not None:
            counted = zip(requests, answers, strict=True)
            self._frames.add([status for request, each in counted if is_counted(request) for status in each.status])
        return [(lock if lock.ever_found else None, answer) for lock, answer in zip(locks, answers, strict=True)]

    def answers(self, chunks: Sequence[Sequence[Located]]) -> list[Answer]:
        """The response for the located frames of each chunk, and their STATUS."""
        return [_answer(located) for (located,) in chunks]  # no later stage of a GPU takes more frames than one


def located_chunks(locate: Locator, requests: Sequence[Any], locks: Sequence[Lock]) -> list[list[Located]]:
    """Locates the frames of the requests of several sequences and advances the sequences' locks."""
    chunks = [encoded_frames(request) for request in requests]
    return side_by_side(
        [len(chunk) for chunk in chunks],
        lambda frame, numbers: locate([chunks[i][frame] for i in numbers], [locks[i] for i in numbers]),
    )


def _answer(located: Located) -> Answer:
    status = np.array([[located.status]], np.int32)
    outputs: dict[str, NDArray[Any]] = {CHECKED: located.checked[None], FACE_BOX: located.box[None], STATUS: status}
    return Answer(respond(outputs), (located.status,))
