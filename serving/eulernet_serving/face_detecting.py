# SPDX-License-Identifier: Apache-2.0
"""Runs the face detector in the process that locates faces."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eulernet_core.tensors import FACE_DETECTOR_MODEL
from eulernet_serving.core_shares import DETECTOR_THREADS
from eulernet_serving.face_locating import Detector
from eulernet_serving.runtime import RuntimeSettings, make_runtime

DETECTOR_GRAPH = f"{FACE_DETECTOR_MODEL}.onnx"  # in the version folder of a stage that locates with it


def make_detector(graph: Path) -> Detector:
    """Loads BlazeFace. `graph`: as `eulernet face-models` writes it."""
    runtime = make_runtime(graph, RuntimeSettings(threads=DETECTOR_THREADS))

    def detect(images: NDArray[np.uint8]) -> tuple[Any, Any, Any]:
        found = runtime({"IMAGE": images})
        return found["BOX"], found["SCORE"], found["SECOND_SCORE"]

    return detect
