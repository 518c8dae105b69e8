"""Boxes and squares: from a picture to what the face models see, and to the crop that EulerNet sees.

The box and the crop are those of the served stages face_locate and face_crop, down to the rounding: a network must be
trained on what it will be served. Pixel coordinates are continuous: a picture spans (0, 0) to (width, height).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet.faces.models import DETECTOR_SIDE_PX, MESH_SIDE_PX

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
MESH_CROP_SCALE = 1.5  # the mesh was trained on squares so many times the detector's box


def letterbox(picture: Picture) -> tuple[Picture, Floats]:
    """Fits a whole picture uint8 (H, W, 3) into the detector's square, black around it.

    Returns: uint8 (128, 128, 3), and fp32 (4,): the square's corners x0, y0, x1, y1 in shares of the picture.
    """
    height, width = picture.shape[:2]
    scale = DETECTOR_SIDE_PX / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (DETECTOR_SIDE_PX - w) // 2, (DETECTOR_SIDE_PX - h) // 2
    square = np.zeros((DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, 3), np.uint8)
    square[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    corner = np.array([-left / w, -top / h])
    return square, np.concatenate([corner, corner + DETECTOR_SIDE_PX / np.array([w, h])]).astype(np.float32)


def unletterbox(points: Floats, square: Floats) -> Floats:
    """Takes fp32 (..., 2), x and y, from shares of the detector's square to shares of the picture."""
    return np.asarray(square[:2] + points * (square[2:] - square[:2]), np.float32)


def square_box(box: Floats, width_px: int, height_px: int, scale: float) -> Floats:
    """The square of whole pixels around a detected box, moved (and only then shrunk) to lie inside the picture.

    Args:
        box: fp32 (4,), x0, y0, x1, y1 in shares of the picture.
        width_px, height_px: the picture's size.
        scale: side of the result to the box's longer side.
    Returns: fp32 (4,), px.
    """
    x0, y0, x1, y1 = box * np.array([width_px, height_px, width_px, height_px], np.float32)
    side = int(min(max(round(max(x1 - x0, y1 - y0) * scale), 2), width_px, height_px))
    left = int(np.clip(round((x0 + x1 - side) / 2), 0, width_px - side))
    top = int(np.clip(round((y0 + y1 - side) / 2), 0, height_px - side))
    return np.array([left, top, left + side, top + side], np.float32)


def crop(picture: Picture, box_px: Floats, side_px: int) -> Picture:
    """The box's region of a picture uint8 (H, W, 3), brought to uint8 (side_px, side_px, 3) as face_crop does."""
    x0, y0, x1, y1 = (int(edge) for edge in box_px)
    region = picture[y0:y1, x0:x1]
    shrinks = region.shape[0] > side_px
    resized = cv2.resize(region, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def mesh_square(picture: Picture, box_px: Floats, right_eye_px: Floats, left_eye_px: Floats) -> tuple[Picture, Floats]:
    """Cuts the square that the face mesh expects: 1.5 times the box, turned so that the eyes are level.

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
    # OpenCV's coordinates have pixel centres at whole numbers, ours at halves.
    matrix = to_picture.copy()
    matrix[:, :2] /= MESH_SIDE_PX
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(picture, matrix, (MESH_SIDE_PX, MESH_SIDE_PX), flags=flags)
    return np.asarray(square, np.uint8), np.asarray(to_picture, np.float32)
