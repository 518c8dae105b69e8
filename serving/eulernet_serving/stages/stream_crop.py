# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof` on a CPU: locates each frame's face, decodes its region, resizes it to the network's input.

One process does all of it, with the face detector in it: no picture is passed from one stage to another, and no stage
calls a further one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from eulernet_serving.face_cropping import Cropper, CropSettings
from eulernet_serving.face_locating import Located
from eulernet_serving.model_parameters import read_parameters
from eulernet_serving.stages.frame_chunks import joined
from eulernet_serving.stages.located_crops import answer_of, cropped, detector_of
from eulernet_serving.stages.stage import Answer
from eulernet_serving.stages.stream_locate import StreamLocate, StreamLocateParameters


@dataclass(frozen=True)
class StreamCropParameters(StreamLocateParameters, CropSettings):
    """`parameters` of this model's configuration."""


class StreamCrop(StreamLocate):
    """ENCODED uint8 (1, bytes), FRAME_BYTES int32 (1, F) or none -> FACE uint8 (1, F * 256, 256, 3), FACE_BOX float32
    (1, F * 4), STATUS int32 (1, F)."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the detector and builds the decoder."""
        parameters = read_parameters(args["model_config"], StreamCropParameters)
        self.crop = Cropper(parameters, inspected=True)
        self.begin(parameters, detector_of(args))

    def answers(self, chunks: Sequence[Sequence[Located]]) -> list[Answer]:
        """The crops of several sequences' frames, decoded as one batch."""
        frames = cropped(self.crop, list(chain.from_iterable(chunks))).frames()
        return [answer_of(joined(list(islice(frames, len(chunk))))) for chunk in chunks]
