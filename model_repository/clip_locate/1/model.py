"""Stage 1 of `antispoof_clip`: what `face_locate` does, for the four frames of a clip in one request and without state.

The clips of a batch go frame by frame, so that the detector runs once for all first frames, and every frame gets the
answer that a sequence of the four would get.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.extend(str(Path(__file__).parents[2] / name / "1") for name in ("face_locate", "eulernet"))
from locate import Locator, Lock, Settings
from parameters import read_parameters
from remote_detector import detect

FRAMES = 4


class TritonPythonModel:
    """ENCODED_0..3 uint8 (1, bytes) -> CHECKED_0..3 uint8 (1, bytes), FACE_BOX float32 (1, 4, 4), STATUS."""

    def initialize(self, args):
        """Called once by Triton."""
        cv2.setNumThreads(1)
        self.locate = Locator(read_parameters(args["model_config"], Settings), detect)

    def execute(self, requests):
        """Several clips."""
        locks = [Lock() for _ in requests]
        frames = [self.locate([_encoded(request, t) for request in requests], locks) for t in range(FRAMES)]
        return [_respond([frame[i] for frame in frames]) for i in range(len(requests))]


def _encoded(request, t: int):
    return pb_utils.get_input_tensor_by_name(request, f"ENCODED_{t}").as_numpy().reshape(-1)


def _respond(clip):
    checked = [pb_utils.Tensor(f"CHECKED_{t}", located.checked[None]) for t, located in enumerate(clip)]
    boxes = pb_utils.Tensor("FACE_BOX", np.stack([located.box for located in clip])[None])
    status = pb_utils.Tensor("STATUS", np.array([[located.status for located in clip]], np.int32))
    return pb_utils.InferenceResponse([*checked, boxes, status])
