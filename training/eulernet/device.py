# SPDX-License-Identifier: Apache-2.0
"""The device for torch."""

import torch


def compute_device() -> torch.device:
    """The GPU if CUDA can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
