# SPDX-License-Identifier: Apache-2.0
"""Losses of the location map: regression of each pixel, and of its differences from its neighbours.

The slides name a regression to the map only through the label. The contrastive depth loss is from Wang et al.,
"Exploiting temporal and depth information for multi-frame face anti-spoofing" (2018), as used by CDCN (Yu et al. 2020).
"""

import torch
from torch import Tensor
from torch.nn import functional

from eulernet.learning.settings import LossSettings


def contrast_kernels() -> Tensor:
    """float (8, 1, 3, 3): -1 in the middle and +1 at one of the eight neighbours."""
    kernels = torch.zeros(8, 1, 3, 3)
    kernels[:, 0, 1, 1] = -1.0
    neighbours = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    for kernel, (row, column) in zip(kernels, neighbours, strict=True):
        kernel[0, row, column] = 1.0
    return kernels


def contrastive_depth_loss(maps: Tensor, targets: Tensor, padding: int = 0) -> Tensor:
    """Mean squared difference of the eight kernels' responses to two maps: float (M, S, S) each, to (M,).

    `padding`: cells of zeros around both maps; 1 also compares the border with what lies beyond it.
    """
    kernels = contrast_kernels().to(maps)
    seen, wanted = (functional.conv2d(each.unsqueeze(1), kernels, padding=padding) for each in (maps, targets))
    return (seen - wanted).square().mean(dim=(1, 2, 3))


def clip_loss(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """The loss of a batch of clips, over their frames from `first_frame` on.

    Every frame has the same weight, times `live_weight` for frames of live clips.

    Args:
        logits: float (N, T, S, S), the map before its sigmoid.
        targets: float (N, S, S) or (N, T, S, S), 0 to 1.
        settings: kind and weights.
    """
    if targets.ndim == 3:
        targets = targets.unsqueeze(1).expand_as(logits)
    logits, targets = logits[:, settings.first_frame :], targets[:, settings.first_frame :]
    logits, targets = logits.flatten(0, 1).float(), targets.flatten(0, 1)
    maps = torch.sigmoid(logits)
    if settings.regression == "bce":
        regression = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    else:
        regression = (maps - targets).square()
    contrast = contrastive_depth_loss(maps, targets)
    losses = settings.regression_weight * regression.mean(dim=(1, 2)) + settings.contrast_weight * contrast
    weights = torch.where(targets.amax(dim=(1, 2)) > 0, settings.live_weight, 1.0)
    return (weights * losses).sum() / weights.sum()
