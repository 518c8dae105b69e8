"""Where torch computes."""

import torch


def compute_device() -> torch.device:
    """The GPU where there is one that CUDA can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
