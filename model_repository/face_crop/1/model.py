# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a CPU: crops the face of each frame."""

from eulernet_serving.stages.face_crop import StreamCrop as TritonPythonModel

__all__ = ["TritonPythonModel"]
