"""Finds the face of a picture and the 468 points of its mesh.

Points follow MediaPipe's order; z is in the pixels of x and y and grows away from the camera, 0 at the head's middle.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from eulernet.faces.geometry import Floats, Picture, letterbox, mesh_square, square_box, unletterbox
from eulernet.faces.models import DETECTOR_NAME, MESH_NAME, POINTS, open_model


@dataclass(frozen=True)
class FaceSettings:
    """`min_score`, `box_scale`: as in the served face_locate. `min_presence`: below it the mesh has lost the face."""

    min_score: float = 0.5
    box_scale: float = 1.6
    min_presence: float = 0.5


@dataclass(frozen=True)
class Face:
    """One face of a picture, in its px.

    box_px: fp32 (4,), x0, y0, x1, y1: the square of whole pixels that EulerNet sees.
    found_px: fp32 (4,), the detector's own box, brow to chin.
    keypoints_px: fp32 (6, 2): right eye, left eye, nose tip, mouth, right ear, left ear (the person's right).
    """

    box_px: Floats
    found_px: Floats
    keypoints_px: Floats
    score: float


class FaceFinder:
    """The detector and the mesh, one thread each. Not to be shared between processes."""

    def __init__(self, models: Path, settings: FaceSettings | None = None) -> None:
        """Loads face_detector.onnx and face_mesh.onnx from the folder `models`.

        Raises:
            FaceModelsError: one is missing or of another kind; says how to make it.
        """
        cv2.setNumThreads(1)
        self.settings = settings or FaceSettings()
        self._detector = open_model(models / DETECTOR_NAME, {"IMAGE"}, {"BOX", "KEYPOINTS", "SCORE"})
        self._mesh = open_model(models / MESH_NAME, {"FACE"}, {"LANDMARKS", "PRESENCE"})

    def find(self, picture: Picture) -> Face | None:
        """The most prominent face of a picture, uint8 (H, W, 3) RGB; None where there is none."""
        height, width = picture.shape[:2]
        square, corners = letterbox(picture)
        box, keypoints, score = self._detector.run(["BOX", "KEYPOINTS", "SCORE"], {"IMAGE": square[None]})
        if score[0, 0] < self.settings.min_score:
            return None
        share = unletterbox(box[0].reshape(2, 2), corners).reshape(4)
        size = np.array([width, height], np.float32)
        return Face(
            box_px=square_box(share, width, height, self.settings.box_scale),
            found_px=(share.reshape(2, 2) * size).reshape(4),
            keypoints_px=unletterbox(keypoints[0], corners) * size,
            score=float(score[0, 0]),
        )

    def landmarks(self, picture: Picture, face: Face) -> Floats | None:
        """The mesh's points of a face that `find` found in this picture: fp32 (468, 3) px; None where it sees none."""
        right_eye, left_eye = face.keypoints_px[:2]
        square, to_picture = mesh_square(picture, face.found_px, right_eye, left_eye)
        points, presence = self._mesh.run(["LANDMARKS", "PRESENCE"], {"FACE": square[None]})
        if presence[0, 0] < self.settings.min_presence:
            return None
        result = np.empty((POINTS, 3), np.float32)
        result[:, :2] = points[0, :, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        result[:, 2] = points[0, :, 2] * np.hypot(to_picture[0, 0], to_picture[1, 0])
        return result
