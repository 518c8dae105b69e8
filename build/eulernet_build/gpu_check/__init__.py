"""Verifies the CUDA kernels and the TensorRT plans on a machine that has a GPU."""
