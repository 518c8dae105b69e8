# SPDX-License-Identifier: Apache-2.0
"""The inputs of the face detector and of the face mesh, and the crop that EulerNet sees.

The box is `eulernet_core.face_box`'s; the crop has the pixels of the served stage face_crop, but for its filter
(`eulernet_serving.face_resizing`). Pixel coordinates are continuous: a picture spans (0, 0) to (width, height).
"""

import cv2
import numpy as np

from eulernet.faces.models import MESH_SIDE_PX
from eulernet_core import face_box
from eulernet_core.face_box import Floats, Picture

MESH_CROP_SCALE = 1.5  # side of the mesh's training squares to the detector's box


def letterbox(picture: Picture) -> tuple[Picture, Floats]:
    """`eulernet_core.face_box.letterbox` for the detector, resized by area with OpenCV."""
    return face_box.letterbox(picture, _by_area)


def _by_area(picture: Picture, size: tuple[int, int]) -> Picture:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop(picture: Picture, box_px: Floats, side_px: int) -> Picture:
    """The box's region of a picture uint8 (H, W, 3), resized to uint8 (side_px, side_px, 3) as in face_crop."""
    x0, y0, x1, y1 = (int(edge) for edge in box_px)
    region = picture[y0:y1, x0:x1]
    shrinks = region.shape[0] > side_px
    resized = cv2.resize(region, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def mesh_square(picture: Picture, box_px: Floats, right_eye_px: Floats, left_eye_px: Floats) -> tuple[Picture, Floats]:
    """The input of the face mesh: a square of 1.5 times the box, rotated so that the eyes are level.

    Args:
        picture: uint8 (H, W, 3), RGB.
        box_px: fp32 (4,), x0, y0, x1, y1 around the face.
        right_eye_px, left_eye_px: fp32 (2,); right is the person's right.
    Returns: uint8 (192, 192, 3), and fp32 (2, 3), the affine map from units of the square's side to px of the picture.
    """
    across = left_eye_px - right_eye_px
    axis = across / max(float(np.hypot(*across)), 1e-6)
    side = max(box_px[2] - box_px[0], box_px[3] - box_px[1]) * MESH_CROP_SCALE
    turn = side * np.array([[axis[0], -axis[1]], [axis[1], axis[0]]])
    to_picture = np.column_stack([turn, (box_px[:2] + box_px[2:]) / 2 - turn @ [0.5, 0.5]])
    # In OpenCV's coordinates the pixel centres are whole numbers, in ours halves.
    matrix = to_picture.copy()
    matrix[:, :2] /= MESH_SIDE_PX
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(picture, matrix, (MESH_SIDE_PX, MESH_SIDE_PX), flags=flags)
    return np.asarray(square, np.uint8), np.asarray(to_picture, np.float32)
