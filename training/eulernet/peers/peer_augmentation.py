# SPDX-License-Identifier: Apache-2.0
"""Random changes to pictures that other systems train with; all frames of a clip get the same draw.

Clips are float (N, T, 3, H, W), 0 to 1, RGB. Generators are on the CPU, so that every device gets the same draws.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

BLACK = 0.0
# CDCN's published code fills rectangles with shares of 1 on a scale of 0 to 255, so they are practically black.
ERASED = (0.49 / 255.0, 0.48 / 255.0, 0.45 / 255.0)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n draws, float (n,)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def flip(clips: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirrors half of the clips and their targets, float (N, S, S)."""
    chosen = (torch.rand(len(clips), generator=generator) < 0.5).to(clips.device)
    mirrored = torch.where(chosen.view(-1, 1, 1, 1, 1), clips.flip(-1), clips)
    return mirrored, torch.where(chosen.view(-1, 1, 1), targets.flip(-1), targets)


def add_and_gamma(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Adds -40 to 40 of 255 to each channel, then a power of 0.5 to 1.5."""
    n = len(clips)
    added = uniform(3 * n, -40.0, 40.0, generator).view(n, 1, 3, 1, 1).to(clips.device) / 255.0
    power = uniform(n, 0.5, 1.5, generator).view(n, 1, 1, 1, 1).to(clips.device)
    return (clips + added).clamp(0.0, 1.0) ** power


def contrast_and_brightness(clips: Tensor, generator: torch.Generator) -> Tensor:
    """For half of the clips: times 0.5 to 1.5, then -40 to 40 of 255 added."""
    n = len(clips)
    chosen = torch.rand(n, generator=generator) < 0.5
    factor = torch.where(chosen, uniform(n, 0.5, 1.5, generator), 1.0).view(n, 1, 1, 1, 1).to(clips.device)
    added = torch.where(chosen, uniform(n, -40.0, 40.0, generator) / 255.0, 0.0).view(n, 1, 1, 1, 1).to(clips.device)
    return (clips * factor + added).clamp(0.0, 1.0)


def erase(clips: Tensor, generator: torch.Generator) -> Tensor:
    """For half of the clips: one or two rectangles of 1 to 5 % of the area, aspect 0.5 to 2 (Zhong et al. 2020)."""
    n, side = len(clips), clips.shape[-1]
    chosen = torch.rand(n, generator=generator) < 0.5
    twice = torch.rand(n, generator=generator) < 0.5
    erased = clips.clone()
    for turn in range(2):
        area = uniform(n, 0.01, 0.05, generator) * side * side
        aspect = uniform(n, 0.5, 2.0, generator)
        places = torch.rand(n, 2, generator=generator)
        for k in torch.nonzero(chosen & (twice | (turn == 0))).flatten().tolist():
            height, width = (min(side - 1, round(math.sqrt(float(area[k] * a)))) for a in (aspect[k], 1 / aspect[k]))
            top, left = int(places[k, 0] * (side - height)), int(places[k, 1] * (side - width))
            fill = torch.tensor(ERASED, device=clips.device).view(3, 1, 1)
            erased[k, :, :, top : top + height, left : left + width] = fill
    return erased


def cutout(clips: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """For a share of the clips: a black square with a side of up to 49 px in 256 (DeVries and Taylor 2017)."""
    n, side = len(clips), clips.shape[-1]
    chosen = torch.rand(n, generator=generator) < share
    reach = uniform(n, 1.0, 50.0, generator).floor() * side / 256.0
    middles = torch.rand(n, 2, generator=generator) * side
    cut = clips.clone()
    for k in torch.nonzero(chosen).flatten().tolist():
        half = float(reach[k]) / 2
        top, bottom, left, right = (
            max(0, min(side, round(float(middle) + step))) for middle in middles[k] for step in (-half, half)
        )
        cut[k, :, :, top:bottom, left:right] = BLACK
    return cut


def turn_and_zoom(clips: Tensor, degrees: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Rotates by up to `degrees` and scales by up to the share `zoom`; the border is repeated."""
    n, t, c, height, width = clips.shape
    angle = uniform(n, -degrees, degrees, generator) * (math.pi / 180.0)
    factor = 1.0 + uniform(n, -zoom, zoom, generator)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * factor
    theta[:, 0, 1], theta[:, 1, 0] = -torch.sin(angle) * factor, torch.sin(angle) * factor
    grid = functional.affine_grid(theta.to(clips.device), [n, c, height, width], align_corners=False)
    flat = clips.reshape(n, t * c, height, width)
    moved = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved.reshape(clips.shape)
