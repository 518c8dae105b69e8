# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of both ensembles on a CPU: decodes the face's region of each frame and resizes it to the network's input."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eulernet_core.tensors import CHECKED, CLIP_CHECKED, FACE, FACE_BOX, STATUS
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.stage import Answer, Stage, read, respond


class StreamCrop(Stage):
    """CHECKED uint8 (1, bytes), FACE_BOX float32 (1, 4), STATUS int32 (1, 1) -> FACE uint8 (1, 256, 256, 3), STATUS."""

    inputs: tuple[str, ...] = (CHECKED,)  # one for each frame of a request

    def set_up(self, args: Mapping[str, str]) -> None:
        """Builds the decoder."""
        self.crop = Cropper(read_parameters(args["model_config"], CropSettings))

    def answer(self, requests: Sequence[Any]) -> list[Answer]:
        """The frames of several requests, decoded as one batch."""
        encoded = [read(request, name).reshape(-1) for request in requests for name in self.inputs]
        boxes = np.concatenate([read(request, FACE_BOX).reshape(-1, 4) for request in requests])
        status = np.concatenate([read(request, STATUS).reshape(-1) for request in requests])
        faces = self.crop(encoded, list(boxes), status)
        count = len(self.inputs)
        parts = [slice(first, first + count) for first in range(0, len(encoded), count)]
        return [
            Answer(respond({FACE: self.shaped(faces[part]), STATUS: status[part][None]}), tuple(status[part].tolist()))
            for part in parts
        ]

    @staticmethod
    def shaped(faces: Any) -> Any:
        """The faces of one request as the output has them: (1, 256, 256, 3)."""
        return faces


class ClipCrop(StreamCrop):
    """CHECKED_0..3 uint8 (1, bytes), FACE_BOX float32 (1, 4, 4), STATUS int32 (1, 4) -> FACE uint8 (1, 4, 256, 256, 3),
    STATUS."""

    inputs = CLIP_CHECKED

    @staticmethod
    def shaped(faces: Any) -> Any:
        """(1, 4, 256, 256, 3)."""
        return faces[None]
