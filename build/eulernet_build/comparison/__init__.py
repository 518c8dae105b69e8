# SPDX-License-Identifier: Apache-2.0
"""EulerNet beside other published systems: their graphs, their cost, and one table of cost and error."""
