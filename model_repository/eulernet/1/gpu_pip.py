# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a GPU: crop and step, with the filters' state."""

from eulernet_serving.stages.gpu_stream_network import GpuStreamNetwork as TritonPythonModel

__all__ = ["TritonPythonModel"]
