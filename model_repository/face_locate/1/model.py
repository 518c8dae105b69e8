# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of `antispoof` on a GPU: checks the JPEG, finds the face at the start of a sequence and holds its box."""

from eulernet_serving.stages.stream_locate import StreamLocate as TritonPythonModel

__all__ = ["TritonPythonModel"]
