# SPDX-License-Identifier: Apache-2.0
"""Training targets: 32x32 maps from the face's landmarks."""

from eulernet.labels.maps import (
    LABEL_KINDS,
    LABEL_SIDE,
    LabelKind,
    binary_mask,
    depth_map,
    label_map,
    label_maps,
    location_map,
)
from eulernet.labels.mesh import FaceMesh, face_mesh

__all__ = [
    "LABEL_KINDS",
    "LABEL_SIDE",
    "FaceMesh",
    "LabelKind",
    "binary_mask",
    "depth_map",
    "face_mesh",
    "label_map",
    "label_maps",
    "location_map",
]
