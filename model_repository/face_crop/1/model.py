# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof` on a CPU: finds the face of each frame and crops it."""

from eulernet_serving.stages.stream_crop import StreamCrop as TritonPythonModel

__all__ = ["TritonPythonModel"]
