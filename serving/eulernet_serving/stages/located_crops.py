# SPDX-License-Identifier: Apache-2.0
"""Common code of the stages that locate and crop on a CPU, with the face detector in their process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import FACE, FACE_BOX, STATUS
from eulernet_serving.face_cropping import Cropper
from eulernet_serving.face_detecting import DETECTOR_GRAPH, make_detector
from eulernet_serving.face_locating import Detector, Located
from eulernet_serving.stages.stage import Answer, graph_path, respond


@dataclass(frozen=True)
class Crops:
    """Crops of n frames: `faces` uint8 (n, 256, 256, 3), `boxes` float32 (n, 4), `status` int32 (n,)."""

    faces: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    status: NDArray[np.int32]

    def frames(self) -> Iterator[dict[str, NDArray[Any]]]:
        """FACE (1, 256, 256, 3), FACE_BOX (1, 4) and STATUS (1, 1) of each frame, as the network's step takes them."""
        for i in range(len(self.status)):
            row = slice(i, i + 1)
            yield {FACE: self.faces[row], FACE_BOX: self.boxes[row], STATUS: self.status[row, None]}


def detector_of(args: Mapping[str, str]) -> Detector:
    """The face detector of a stage's version folder."""
    return make_detector(graph_path(args).with_name(DETECTOR_GRAPH))


def cropped(crop: Cropper, located: Sequence[Located]) -> Crops:
    """Crops located frames, decoded as one batch."""
    boxes = [each.box for each in located]
    status = np.array([each.status for each in located], np.int32)
    faces = crop([each.checked for each in located], boxes, status)
    return Crops(faces, np.stack(boxes), status)


def answer_of(outputs: Mapping[str, NDArray[Any]]) -> Answer:
    """A response of FACE, FACE_BOX and STATUS, each with the batch dimension."""
    return Answer(respond(outputs), tuple(outputs[STATUS].reshape(-1).tolist()))
