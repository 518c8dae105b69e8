# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof_clip` on a CPU: locates each clip's face, decodes its region of the four frames, resizes it.

One process does all of it, with the face detector in it: no picture is passed from one stage to another, and no stage
calls a further one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.tensors import FACE, FACE_BOX, STATUS
from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.face_locating import Located, LocateSettings
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.clip_locate import ClipLocate
from eulernet_serving.stages.located_crops import answer_of, cropped, detector_of
from eulernet_serving.stages.stage import Answer


@dataclass(frozen=True)
class ClipCropParameters(LocateSettings, CropSettings):
    """`parameters` of this model's configuration."""


class ClipCrop(ClipLocate):
    """ENCODED_0..3 uint8 (1, bytes) -> FACE uint8 (1, 4, 256, 256, 3), FACE_BOX float32 (1, 4, 4), STATUS (1, 4)."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the detector and builds the decoder."""
        parameters = read_parameters(args["model_config"], ClipCropParameters)
        self.crop = Cropper(parameters, inspected=True)
        self.begin(parameters, detector_of(args))

    def answers(self, clips: Sequence[Sequence[Located]]) -> list[Answer]:
        """The crops of several clips."""
        made = cropped(self.crop, list(chain.from_iterable(clips)))
        parts = [slice(first, first + CLIP_FRAMES) for first in range(0, len(made.faces), CLIP_FRAMES)]
        results: dict[str, NDArray[Any]] = {FACE: made.faces, FACE_BOX: made.boxes, STATUS: made.status}
        return [answer_of({name: value[part][None] for name, value in results.items()}) for part in parts]
