# SPDX-License-Identifier: Apache-2.0
"""`antispoof_clip` in one stage, for `eulernet serve --one-stage`."""

from eulernet_serving.stages.clip_pipeline import ClipPipeline as TritonPythonModel

__all__ = ["TritonPythonModel"]
