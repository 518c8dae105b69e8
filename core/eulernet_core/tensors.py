# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the service: its models, and the content of each tensor.

The `config.pbtxt` files repeat these names; tests compare them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES

STREAM_MODEL = "antispoof"
CLIP_MODEL = "antispoof_clip"
FACE_DETECTOR_MODEL = "face_detector"
STEP_NETWORK_MODEL = "eulernet"
CLIP_NETWORK_MODEL = "eulernet_clip"
PROBE_REQUEST_ID = "eulernet-probe"  # id of the requests of health probes
CLOSING_REQUEST_ID = "eulernet-close"  # id of a request that only ends its stream, without a picture
UNCOUNTED_REQUEST_IDS = (PROBE_REQUEST_ID, CLOSING_REQUEST_ID)  # no metric counts them

ENCODED = "ENCODED"  # uint8 (bytes,), one JPEG, or those of a chunk of a stream's frames behind each other
FRAME_BYTES = "FRAME_BYTES"  # int32 (F,), optional, for a chunk: the length of each of its JPEGs
CLIP_ENCODED = tuple(f"{ENCODED}_{t}" for t in range(CLIP_FRAMES))
CHECKED = "CHECKED"  # uint8 (bytes,), the JPEG or a small valid one in its place
CLIP_CHECKED = tuple(f"{CHECKED}_{t}" for t in range(CLIP_FRAMES))
FACE = "FACE"  # uint8 (FACE_SIDE_PX, FACE_SIDE_PX, 3), RGB
LIVENESS = "LIVENESS"  # float32 (1,), 0 attack to 1 live
LOCATION_MAP = "LOCATION_MAP"  # float32 (MAP_SIDE, MAP_SIDE)
FACE_BOX = "FACE_BOX"  # float32 (4,), x0, y0, x1, y1 in px of the upright frame
FRAME_COUNT = "FRAME_COUNT"  # int32 (1,), frames that the filter has seen
STATUS = "STATUS"  # int32 (1,), see eulernet_core.status
OUTPUTS = (LIVENESS, LOCATION_MAP, FACE_BOX, FRAME_COUNT, STATUS)

# The networks pass STATUS and FACE_BOX on: Triton skips steps of an ensemble whose outputs nobody requests, so all
# outputs come from the last step. An ONNX graph can't name an output as its input.
STATUS_OUT = "STATUS_OUT"
FACE_BOX_OUT = "FACE_BOX_OUT"
NETWORK_INPUTS = (FACE, STATUS, FACE_BOX)
NETWORK_OUTPUTS = (LIVENESS, LOCATION_MAP, FRAME_COUNT, STATUS_OUT, FACE_BOX_OUT)

FACE_SIDE_PX = 256
MAP_SIDE = 32

STATE_INPUT_SUFFIX, STATE_OUTPUT_SUFFIX = "_in", "_out"  # s0_in, s0_out, …
LONGEST_SEQUENCE_PARAMETER = "longest_sequence"  # in the metadata of graphs: frames until the filters start anew, or 0


def usable_clips(faces: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Inputs of the clip network for face crops alone: every frame usable, boxes of zeros.

    Args:
        faces: uint8 (N, T, FACE_SIDE_PX, FACE_SIDE_PX, 3), RGB.
    """
    frames = faces.shape[:2]
    return {FACE: faces, STATUS: np.zeros(frames, np.int32), FACE_BOX: np.zeros((*frames, 4), np.float32)}
