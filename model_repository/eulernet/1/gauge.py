"""How many sequences a model keeps, for Prometheus: eulernet_open_sequences{model="…"} on Triton's metrics port."""

import triton_python_backend_utils as pb_utils


def open_sequences_gauge(model_name: str):
    """The gauge of one model; all models share the family."""
    family = pb_utils.MetricFamily(
        name="eulernet_open_sequences",
        description="Sequences whose state a model keeps at its last request",
        kind=pb_utils.MetricFamily.GAUGE,
    )
    return family, family.Metric(labels={"model": model_name})
