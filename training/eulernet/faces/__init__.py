# SPDX-License-Identifier: Apache-2.0
"""Finds faces and their 468 landmarks, with the same box and the same pixels as the served models."""

from eulernet.faces.finder import Face, FaceFinder, FaceSettings
from eulernet.faces.geometry import crop
from eulernet.faces.models import DETECTOR_NAME, MESH_NAME, FaceModelsError

__all__ = ["DETECTOR_NAME", "MESH_NAME", "Face", "FaceFinder", "FaceModelsError", "FaceSettings", "crop"]
