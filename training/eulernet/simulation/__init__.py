# SPDX-License-Identifier: Apache-2.0
"""A simulator of OULU-NPU: short rendered videos of heads, of their prints and of their replays, with six cameras."""
