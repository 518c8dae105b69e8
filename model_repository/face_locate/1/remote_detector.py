"""Calls `face_detector`, another model of the same server: OpenVINO or TensorRT, whichever its configuration says."""

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray


def detect(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Runs BlazeFace on a batch.

    Args:
        images: uint8 (n, 128, 128, 3) RGB.
    Returns: BOX float32 (n, 4), SCORE float32 (n, 1), SECOND_SCORE float32 (n, 1).
    Raises: RuntimeError where the detector does not answer.
    """
    outputs = ("BOX", "SCORE", "SECOND_SCORE")
    response = pb_utils.InferenceRequest(
        model_name="face_detector",
        requested_output_names=list(outputs),
        inputs=[pb_utils.Tensor("IMAGE", images)],
    ).exec()
    if response.has_error():
        raise RuntimeError(f"face_detector: {response.error().message()}")
    return tuple(pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs)
