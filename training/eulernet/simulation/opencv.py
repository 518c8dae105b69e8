"""OpenCV without its type stubs, which leave out fixed-point coordinates, missing maps and tuples."""

from typing import Any

import cv2 as _cv2

cv2: Any = _cv2
