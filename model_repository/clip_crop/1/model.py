# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof_clip` on a CPU: crops the faces of each clip."""

from eulernet_serving.stages.face_crop import ClipCrop as TritonPythonModel

__all__ = ["TritonPythonModel"]
