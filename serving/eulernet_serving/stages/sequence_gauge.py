# SPDX-License-Identifier: Apache-2.0
"""The metric eulernet_open_sequences{model="…"} on Triton's metrics port: how many sequences a model keeps."""

from typing import Any

import triton_python_backend_utils as pb_utils


def open_sequences_gauge(model_name: str) -> tuple[Any, Any]:
    """The metric family, which all models share, and the gauge of one model. Keep both alive."""
    family = pb_utils.MetricFamily(
        name="eulernet_open_sequences",
        description="Sequences whose state a model keeps at its last request",
        kind=pb_utils.MetricFamily.GAUGE,
    )
    return family, family.Metric(labels={"model": model_name})
