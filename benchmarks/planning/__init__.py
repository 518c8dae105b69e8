# SPDX-License-Identifier: Apache-2.0
"""Checks the capacity planner's model against load tests of a real server."""
