# SPDX-License-Identifier: Apache-2.0
"""Compares a candidate of the service with the one in use: `eulernet rollout`."""
