# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof_clip` on a GPU: crop and network, without state."""

from eulernet_serving.stages.gpu_clip_network import GpuClipNetwork as TritonPythonModel

__all__ = ["TritonPythonModel"]
