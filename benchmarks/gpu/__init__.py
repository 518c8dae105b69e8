# SPDX-License-Identifier: Apache-2.0
"""Measures `eulernet serve --gpu` beside the CPU configuration and FastAPI, and the cost of the stages on the CPU."""
