# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof_clip` on a GPU: `face_locate` for the four frames of a clip in one request, without state.

The clips of a batch advance frame by frame, so that the detector runs once for all first frames, and every frame gets
the answer that a sequence of the four would get.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from eulernet_core.tensors import CLIP_CHECKED, CLIP_ENCODED, FACE_BOX, STATUS
from eulernet_serving.core_shares import OPENCV_THREADS
from eulernet_serving.face_locating import Detector, Located, LocateSettings, Locator, Lock
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.frame_metrics import ClipMetrics, is_counted
from eulernet_serving.stages.remote_detector import detect
from eulernet_serving.stages.stage import Answer, Stage, read, respond


class ClipLocate(Stage):
    """ENCODED_0..3 uint8 (1, bytes) -> CHECKED_0..3 uint8 (1, bytes), FACE_BOX float32 (1, 4, 4), STATUS (1, 4)."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Reads the parameters."""
        self.begin(read_parameters(args["model_config"], LocateSettings), detect)

    def begin(self, parameters: LocateSettings, detector: Detector) -> None:
        """Prepares to locate."""
        cv2.setNumThreads(OPENCV_THREADS)
        self.locate = Locator(parameters, detector)
        self._clips = ClipMetrics(self.metrics) if parameters.count_frames else None

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """Several clips."""
        answers = self.answers(self.located(requests))
        if self._clips is not None:
            for request, answer in zip(requests, answers, strict=True):
                if is_counted(request):
                    self._clips.add(answer.status)
        return answers

    def located(self, requests: Sequence[Any]) -> list[list[Located]]:
        """The located frames of each request's clip."""
        locks = [Lock() for _ in requests]
        frames = [self.locate([read(each, name).reshape(-1) for each in requests], locks) for name in CLIP_ENCODED]
        return [[frame[i] for frame in frames] for i in range(len(requests))]

    def answers(self, clips: Sequence[Sequence[Located]]) -> list[Answer]:
        """The response for each clip of located frames, and their STATUS."""
        return [_answer(clip) for clip in clips]


def _answer(clip: Sequence[Located]) -> Answer:
    status = tuple(each.status for each in clip)
    checked = {name: each.checked[None] for name, each in zip(CLIP_CHECKED, clip, strict=True)}
    boxes = np.stack([each.box for each in clip])[None]
    return Answer(respond({**checked, FACE_BOX: boxes, STATUS: np.array([status], np.int32)}), status)
