"""Stage 2 of `antispoof_clip` on a CPU: `face_crop` for the four frames of each clip."""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.extend(str(Path(__file__).parents[2] / name / "1") for name in ("face_crop", "eulernet"))
from crop import Cropper, CropSettings
from parameters import read_parameters

FRAMES = 4


class TritonPythonModel:
    """CHECKED_0..3 uint8 (1, bytes), FACE_BOX float32 (1, 4, 4), STATUS int32 (1, 4) -> FACE uint8 (1, 4, 256, 256, 3),
    STATUS."""

    def initialize(self, args):
        """Called once by Triton."""
        self.crop = Cropper(read_parameters(args["model_config"], CropSettings))

    def execute(self, requests):
        """The frames of several clips, decoded as one batch."""
        encoded = [_read(request, f"CHECKED_{t}").reshape(-1) for request in requests for t in range(FRAMES)]
        boxes = np.concatenate([_read(request, "FACE_BOX")[0] for request in requests])
        status = np.concatenate([_read(request, "STATUS")[0] for request in requests])
        faces = self.crop(encoded, boxes, status)
        clips = [slice(first, first + FRAMES) for first in range(0, len(encoded), FRAMES)]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("FACE", faces[clip][None]), pb_utils.Tensor("STATUS", status[clip][None])]
            )
            for clip in clips
        ]


def _read(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
