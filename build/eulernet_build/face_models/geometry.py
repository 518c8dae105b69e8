"""The squares that the two face models look at, and the way back to the picture's pixels.

Pixel coordinates are continuous: the picture spans (0, 0) to (width, height).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eulernet_build.face_models import detector, mesh

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]
_RIGHT_EYE, _LEFT_EYE = 0, 1


@dataclass(frozen=True)
class Square:
    """A square cut from a picture: pixels and the map from the square's units to the picture's pixels."""

    pixels: Picture  # (side, side, 3), RGB
    to_picture: NDArray[np.float64]  # (2, 3), affine; the square's side is 1

    def points_in_picture(self, points: Points) -> Points:
        """Map fp32 (..., 2), in units of the square's side, to pixels of the picture."""
        mapped = points @ self.to_picture[:, :2].T + self.to_picture[:, 2]
        return np.asarray(mapped, np.float32)

    def box_in_picture(self, box: Points) -> Points:
        """Map fp32 (4,) x0, y0, x1, y1; for squares that are not turned."""
        return self.points_in_picture(box.reshape(2, 2)).reshape(4)


def letterbox(picture: Picture, side_px: int = detector.SIDE_PX) -> Square:
    """Shrink a whole picture, uint8 (H, W, 3), into the middle of a black square, keeping its proportions."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    size = max(round(width * side_px / longest), 1), max(round(height * side_px / longest), 1)
    left, top = (side_px - size[0]) // 2, (side_px - size[1]) // 2
    square = np.zeros((side_px, side_px, 3), np.uint8)
    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if longest > side_px else cv2.INTER_LINEAR)
    square[top : top + size[1], left : left + size[0]] = shrunk
    scale_x, scale_y = width / size[0], height / size[1]
    return Square(
        square,
        np.array([[scale_x * side_px, 0, -left * scale_x], [0, scale_y * side_px, -top * scale_y]]),
    )


def mesh_square(picture: Picture, box_px: Points, keypoints_px: Points) -> Square:
    """Cut the square that the face mesh expects: level eyes, mesh.CROP_SCALE times the detector's box.

    Args:
        picture: uint8 (H, W, 3), RGB.
        box_px: fp32 (4,), x0, y0, x1, y1, of the detector, in pixels of the picture.
        keypoints_px: fp32 (6, 2), of the detector, in pixels of the picture.
    """
    x, y = keypoints_px[_LEFT_EYE] - keypoints_px[_RIGHT_EYE]
    angle = np.arctan2(y, x)
    side = max(box_px[2] - box_px[0], box_px[3] - box_px[1]) * mesh.CROP_SCALE
    turn = side * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (box_px[:2] + box_px[2:]) / 2
    to_picture = np.column_stack([turn, centre - turn @ [0.5, 0.5]])
    # OpenCV's coordinates have pixel centres at whole numbers, ours at halves.
    pixel_map = to_picture.copy()
    pixel_map[:, :2] /= mesh.SIDE_PX
    pixel_map[:, 2] += pixel_map[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(picture, pixel_map, (mesh.SIDE_PX, mesh.SIDE_PX), flags=flags)
    return Square(np.asarray(pixels, np.uint8), to_picture)
