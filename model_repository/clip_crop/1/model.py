# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof_clip` on a CPU: finds the face of each clip and crops its four frames."""

from eulernet_serving.stages.clip_crop import ClipCrop as TritonPythonModel

__all__ = ["TritonPythonModel"]
