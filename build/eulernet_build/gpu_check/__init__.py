# SPDX-License-Identifier: Apache-2.0
"""Checks the CUDA kernels and the TensorRT plans on a machine with an NVIDIA GPU."""
