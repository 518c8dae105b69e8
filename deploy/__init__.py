# SPDX-License-Identifier: Apache-2.0
"""Deployment: image, chart, gateway, and the tools that check them."""
