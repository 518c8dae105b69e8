# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof_clip` on a CPU: EulerNet over the four frames of each clip, without state."""

from eulernet_serving.stages.clip_network import ClipNetwork as TritonPythonModel

__all__ = ["TritonPythonModel"]
