# SPDX-License-Identifier: Apache-2.0
"""`antispoof` in one stage, for `eulernet serve --one-stage`."""

from eulernet_serving.stages.stream_pipeline import StreamPipeline as TritonPythonModel

__all__ = ["TritonPythonModel"]
