"""Stage 2 of `antispoof` on a CPU: decodes the face's region of each frame and brings it to the network's size."""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.extend(str(Path(__file__).parents[2] / name / "1") for name in ("face_crop", "eulernet"))
from crop import Cropper, CropSettings
from parameters import read_parameters


class TritonPythonModel:
    """CHECKED uint8 (1, bytes), FACE_BOX float32 (1, 4), STATUS int32 (1, 1) -> FACE uint8 (1, 256, 256, 3), STATUS."""

    def initialize(self, args):
        """Called once by Triton."""
        self.crop = Cropper(read_parameters(args["model_config"], CropSettings))

    def execute(self, requests):
        """Frames of several sequences, decoded as one batch."""
        encoded = [_read(request, "CHECKED").reshape(-1) for request in requests]
        boxes = [_read(request, "FACE_BOX")[0] for request in requests]
        status = np.concatenate([_read(request, "STATUS")[0] for request in requests])
        faces = self.crop(encoded, boxes, status)
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("FACE", faces[i : i + 1]), pb_utils.Tensor("STATUS", status[i : i + 1, None])]
            )
            for i in range(len(requests))
        ]


def _read(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
