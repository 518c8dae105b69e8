# SPDX-License-Identifier: Apache-2.0
"""Scaling of the server with concurrency, frame size and number of open streams."""
