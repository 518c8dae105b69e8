# SPDX-License-Identifier: Apache-2.0
"""BlazeFace on a GPU: IMAGE uint8 (n, 128, 128, 3) RGB -> BOX, KEYPOINTS, SCORE, SECOND_SCORE."""

from eulernet_serving.stages.gpu_detector import GpuDetector as TritonPythonModel

__all__ = ["TritonPythonModel"]
