# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof_clip` on a GPU: finds the face in the first of a clip's four frames and holds its box."""

from eulernet_serving.stages.clip_locate import ClipLocate as TritonPythonModel

__all__ = ["TritonPythonModel"]
