"""Where the face is and where its 468 points lie, with the same box and the same pixels as the served models."""

from eulernet.faces.finder import Face, FaceFinder, FaceSettings
from eulernet.faces.geometry import crop
from eulernet.faces.models import DETECTOR_NAME, FACE_MODELS, MESH_NAME, FaceModelsError

__all__ = ["DETECTOR_NAME", "FACE_MODELS", "MESH_NAME", "Face", "FaceFinder", "FaceModelsError", "FaceSettings", "crop"]
