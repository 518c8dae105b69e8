# SPDX-License-Identifier: Apache-2.0
"""The gateway on one machine: HAProxy with the chart's configuration, doors of replicas, and a DNS server."""
