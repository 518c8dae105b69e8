# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof` on a CPU: one step of EulerNet a frame, with the filters' state."""

from eulernet_serving.stages.step_network import StepNetwork as TritonPythonModel

__all__ = ["TritonPythonModel"]
