# SPDX-License-Identifier: Apache-2.0
"""Calls `face_detector`, another model of the same server, in whatever runtime its configuration names."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from eulernet_core.tensors import FACE_DETECTOR_MODEL


def detect(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Runs BlazeFace on a batch.

    Args:
        images: uint8 (n, 128, 128, 3) RGB.
    Returns: BOX float32 (n, 4), SCORE float32 (n, 1), SECOND_SCORE float32 (n, 1).
    Raises: RuntimeError where the detector does not answer.
    """
    outputs = ("BOX", "SCORE", "SECOND_SCORE")
    response = pb_utils.InferenceRequest(
        model_name=FACE_DETECTOR_MODEL,
        requested_output_names=list(outputs),
        inputs=[pb_utils.Tensor("IMAGE", images)],
    ).exec()
    if response.has_error():
        raise RuntimeError(f"{FACE_DETECTOR_MODEL}: {response.error().message()}")
    box, score, second = (_array(response, name) for name in outputs)
    return box, score, second


def _array(response: Any, name: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = pb_utils.get_output_tensor_by_name(response, name).as_numpy()
    return array
