# SPDX-License-Identifier: Apache-2.0
"""Variants of a fused graph in fp16 and int8, their errors, and their speed on a CPU."""
