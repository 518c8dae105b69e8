# SPDX-License-Identifier: Apache-2.0
"""Finds the face in a picture and the 468 points of its mesh.

The points have MediaPipe's order. z has the unit of x and y, increases away from the camera, is 0 at the head's middle.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from eulernet.faces.geometry import letterbox, mesh_square
from eulernet.faces.models import DETECTOR_NAME, MESH_NAME, POINTS, open_model
from eulernet_core.face_box import BOX_SCALE, MIN_SCORE, Floats, Picture, square_box, unletterbox, unletterbox_box


@dataclass(frozen=True)
class FaceSettings:
    """`min_score`, `box_scale`: as in the served face_locate. `min_presence`: of the mesh, to accept its points."""

    min_score: float = MIN_SCORE
    box_scale: float = BOX_SCALE
    min_presence: float = 0.5


@dataclass(frozen=True)
class Face:
    """One face of a picture, in its px.

    box_px: fp32 (4,), x0, y0, x1, y1: the square of whole pixels around EulerNet's crop.
    found_px: fp32 (4,), the detector's box, brow to chin.
    keypoints_px: fp32 (6, 2): right eye, left eye, nose tip, mouth, right ear, left ear (the person's right).
    """

    box_px: Floats
    found_px: Floats
    keypoints_px: Floats
    score: float


class FaceFinder:
    """The detector and the mesh, on one thread each. Do not share it between processes."""

    def __init__(self, models: Path, settings: FaceSettings | None = None) -> None:
        """Loads face_detector.onnx and face_mesh.onnx from the folder `models`.

        Raises:
            FaceModelsError: a file is missing or is another model.
        """
        cv2.setNumThreads(1)
        self.settings = settings or FaceSettings()
        self._detector = open_model(models / DETECTOR_NAME, {"IMAGE"}, {"BOX", "KEYPOINTS", "SCORE"})
        self._mesh = open_model(models / MESH_NAME, {"FACE"}, {"LANDMARKS", "PRESENCE"})

    def find(self, picture: Picture) -> Face | None:
        """The most prominent face in a picture, uint8 (H, W, 3) RGB; None if there is none."""
        height, width = picture.shape[:2]
        square, corners = letterbox(picture)
        box, keypoints, score = self._detector.run(["BOX", "KEYPOINTS", "SCORE"], {"IMAGE": square[None]})
        if score[0, 0] < self.settings.min_score:
            return None
        share = unletterbox_box(box[0], corners)
        size = np.array([width, height], np.float32)
        return Face(
            box_px=square_box(share, width, height, self.settings.box_scale),
            found_px=(share.reshape(2, 2) * size).reshape(4),
            keypoints_px=unletterbox(keypoints[0], corners) * size,
            score=float(score[0, 0]),
        )

    def landmarks(self, picture: Picture, face: Face) -> Floats | None:
        """The mesh's points of a face from `find`: fp32 (468, 3) px; None if the mesh sees no face."""
        right_eye, left_eye = face.keypoints_px[:2]
        square, to_picture = mesh_square(picture, face.found_px, right_eye, left_eye)
        points, presence = self._mesh.run(["LANDMARKS", "PRESENCE"], {"FACE": square[None]})
        if presence[0, 0] < self.settings.min_presence:
            return None
        result = np.empty((POINTS, 3), np.float32)
        result[:, :2] = points[0, :, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        result[:, 2] = points[0, :, 2] * np.hypot(to_picture[0, 0], to_picture[1, 0])
        return result
