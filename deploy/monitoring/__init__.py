# SPDX-License-Identifier: Apache-2.0
"""Prometheus rules, Alertmanager's example, Grafana dashboards, and the code that makes and runs them."""
