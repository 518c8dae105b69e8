# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: this server beside other servers, its scaling, and the effect of single settings."""
