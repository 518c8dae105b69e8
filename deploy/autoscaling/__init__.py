# SPDX-License-Identifier: Apache-2.0
"""What KEDA and Kubernetes make of the chart's ScaledObject, for tests and for trying numbers by hand."""
