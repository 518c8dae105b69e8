"""Stage 1 of `antispoof`: checks the JPEG, finds the face at the start of a sequence and holds its box.

A bad frame is an answer here, not an error: an error would swallow the frame's START or END before the stages that
count on them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.append(str(Path(__file__).parents[2] / "eulernet" / "1"))
from gauge import open_sequences_gauge
from locate import Located, Locator, Lock, Settings
from parameters import read_parameters
from remote_detector import detect
from sequences import SequenceLostError, SequenceStore

START, END = 1, 2  # TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, _END


@dataclass(frozen=True)
class Parameters(Settings):
    """`parameters` of this model's configuration."""

    max_sequences: int = 1024
    max_idle_s: float = 60.0


class TritonPythonModel:
    """ENCODED uint8 (1, bytes) -> CHECKED uint8 (1, bytes), FACE_BOX float32 (1, 4), STATUS int32 (1, 1)."""

    def initialize(self, args):
        """Called once by Triton."""
        cv2.setNumThreads(1)
        parameters = read_parameters(args["model_config"], Parameters)
        self.locks = SequenceStore(Lock, parameters.max_sequences, parameters.max_idle_s)
        self.locate = Locator(parameters, detect)
        self.gauge_family, self.gauge = open_sequences_gauge(args["model_name"])

    def execute(self, requests):
        """One frame each of several sequences."""
        responses = [None] * len(requests)
        batch = []
        for i, request in enumerate(requests):
            try:
                lock = self.locks.take(request.correlation_id(), bool(request.flags() & START))
            except SequenceLostError as error:
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
            else:
                frame = pb_utils.get_input_tensor_by_name(request, "ENCODED").as_numpy().reshape(-1)
                batch.append((i, frame, lock))
        if batch:
            indices, frames, locks = zip(*batch, strict=True)
            for i, lock, located in zip(indices, locks, self.locate(frames, locks), strict=True):
                self.locks.put(requests[i].correlation_id(), lock, bool(requests[i].flags() & END))
                responses[i] = _respond(located)
        self.gauge.set(len(self.locks))
        return responses


def _respond(located: Located):
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("CHECKED", located.checked[None]),
            pb_utils.Tensor("FACE_BOX", located.box[None]),
            pb_utils.Tensor("STATUS", np.array([[located.status]], np.int32)),
        ]
    )
