# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the service: its models, and the content of each tensor.

The `config.pbtxt` files repeat these names; tests compare them.
"""

from __future__ import annotations

from eulernet_core.clip_geometry import CLIP_FRAMES

STREAM_MODEL = "antispoof"
CLIP_MODEL = "antispoof_clip"
FACE_DETECTOR_MODEL = "face_detector"
STEP_NETWORK_MODEL = "eulernet"
CLIP_NETWORK_MODEL = "eulernet_clip"

ENCODED = "ENCODED"  # uint8 (bytes,), one JPEG
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

FACE_SIDE_PX = 256
MAP_SIDE = 32

STATE_INPUT_SUFFIX, STATE_OUTPUT_SUFFIX = "_in", "_out"  # s0_in, s0_out, …
