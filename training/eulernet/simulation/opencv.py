# SPDX-License-Identifier: Apache-2.0
"""OpenCV without its type stubs, which lack fixed-point coordinates, optional maps and tuples."""

from typing import Any

import cv2 as _cv2

cv2: Any = _cv2
