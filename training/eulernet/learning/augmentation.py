# SPDX-License-Identifier: Apache-2.0
"""Random changes to a clip, the same for all of its frames, so that the differences between frames stay as recorded."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from eulernet.colour import LUMA
from eulernet.learning.settings import WINDOW_STEP_PX, AugmentationSettings
from eulernet.network import PIXEL_MEAN, PIXEL_STD


def to_float(clips: Tensor) -> Tensor:
    """uint8 (N, T, H, W, 3), 0 to 255, to float (N, T, 3, H, W), 0 to 1."""
    return clips.permute(0, 1, 4, 2, 3).float() / 255.0


def to_network(clips: Tensor) -> Tensor:
    """float 0 to 1 to the input range of `EulerNet.logits`, -1 to 1."""
    mean, std = (torch.tensor(each, device=clips.device).view(3, 1, 1) for each in (PIXEL_MEAN, PIXEL_STD))
    return (clips - mean) / std


def augment(
    clips: Tensor, targets: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flips, rotates, shifts, zooms, recolours and sharpens each clip of a batch, and moves its target with it.

    Args:
        clips: float (N, T, 3, H, W), 0 to 1.
        targets: float (N, S, S) or (N, T, S, S).
        settings: the limits.
        generator: on the CPU, so that every device gets the same draws.

    Returns:
        Both, of the same shapes.
    """
    n = len(clips)
    draws = 2.0 * torch.rand(n, 12, generator=generator) - 1.0
    turns = ((draws[:, 11] + 1.0) * 2.0).long().tolist()
    draws = draws.to(clips.device)
    flip = (draws[:, 0] < 0) & settings.flip
    framed = targets if targets.ndim == 4 else targets.unsqueeze(1)
    if settings.zoom or settings.shift:
        scale = 1.0 + settings.zoom * draws[:, 1]
        theta = torch.zeros(n, 2, 3, device=clips.device)
        theta[:, 0, 0], theta[:, 1, 1] = torch.where(flip, -scale, scale), scale
        theta[:, :, 2] = 2.0 * settings.shift * draws[:, 2:4]
        moved = _move(clips, theta, "border")
        target = _move(framed.unsqueeze(2), theta, "zeros").squeeze(2)
    else:
        # All moves are by whole pixels: no resampling.
        moved = torch.where(flip.view(n, 1, 1, 1, 1), clips.flip(-1), clips)
        target = torch.where(flip.view(n, 1, 1, 1), framed.flip(-1), framed)
    if settings.quarter_turns:
        moved, target = (_turn(each, turns) for each in (moved, target))
    recoloured = _recolour(moved, draws, settings)
    if settings.sharpness:
        recoloured += (settings.sharpness * draws[:, 10]).view(n, 1, 1, 1, 1) * (recoloured - _blur(recoloured))
    return recoloured.clamp(0.0, 1.0), target if targets.ndim == 4 else target.squeeze(1)


def cut_windows(
    clips: Tensor, targets: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A square window of each clip, not resampled, and the same window of its target.

    A fully convolutional network learns a surface's texture from a window as well as from the whole crop, at a fraction
    of the cost, and can't memorise faces (patches against faces: Atoum et al. 2017).

    Args:
        clips: uint8 (N, T, H, H, 3).
        targets: float (N, S, S) or (N, T, S, S).
        settings: `window_px` is the window's side; 0 leaves both as they are.
        generator: for the positions.

    Returns:
        Both, cut to the window.
    """
    side, whole = settings.window_px, clips.shape[2]
    if not side:
        return clips, targets
    cell = whole // targets.shape[-1]
    places = (whole - side) // WINDOW_STEP_PX + 1
    corners = WINDOW_STEP_PX * torch.randint(places, (len(clips), 2), generator=generator)
    parts, maps = [], []
    for clip, target, (top, left) in zip(clips, targets, corners.tolist(), strict=True):
        parts.append(clip[:, top : top + side, left : left + side])
        maps.append(target[..., top // cell : (top + side) // cell, left // cell : (left + side) // cell])
    return torch.stack(parts), torch.stack(maps)


def _move(pictures: Tensor, theta: Tensor, padding: str) -> Tensor:
    """pictures: float (N, T, C, H, W); theta: (N, 2, 3), from the new picture's coordinates to the old ones."""
    n, t, c, height, width = pictures.shape
    grid = functional.affine_grid(theta, [n, c, height, width], align_corners=False)
    # The frames of a clip are channels of one picture, so that one grid moves all of them.
    flat = functional.grid_sample(
        pictures.reshape(n, t * c, height, width), grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    return flat.reshape(n, t, c, height, width)


def _turn(pictures: Tensor, turns: list[int]) -> Tensor:
    """pictures: float (N, ..., H, H); turns: N numbers of quarter turns, counter-clockwise."""
    return torch.stack([each.rot90(k, (-2, -1)) for each, k in zip(pictures, turns, strict=True)])


def _recolour(clips: Tensor, draws: Tensor, settings: AugmentationSettings) -> Tensor:
    """Contrast about the clip's mean, gain, gain per channel and saturation, as one affine map of colours per clip."""
    n, t, _, height, width = clips.shape
    gain = 1.0 + settings.gain * draws[:, 4, None]
    contrast = 1.0 + settings.contrast * draws[:, 5, None]
    colour = gain * (1.0 + settings.colour * draws[:, 6:9])
    saturation = (1.0 + settings.saturation * draws[:, 9]).view(n, 1, 1)
    grey, same = torch.tensor(LUMA, device=clips.device), torch.eye(3, device=clips.device)
    mixed = saturation * same + (1.0 - saturation) * grey
    middle = clips.mean(dim=(1, 2, 3, 4)).unsqueeze(1)
    matrix = mixed * (colour * contrast).unsqueeze(1)
    offset = mixed @ (colour * middle * (1.0 - contrast)).unsqueeze(2)
    pixels = clips.reshape(n * t, 3, height * width)
    return torch.baddbmm(offset.repeat_interleave(t, 0), matrix.repeat_interleave(t, 0), pixels).reshape(clips.shape)


def _blur(pictures: Tensor) -> Tensor:
    """Mean of 3x3 pixels with a replicated border: float (N, T, C, H, W). It takes a fifth of `avg_pool2d`'s time."""
    padded = functional.pad(pictures.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return ((rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9.0).reshape(pictures.shape)


def epoch_generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """A generator for one batch, so that a resumed run has the same draws as an uninterrupted one."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + batch
    return torch.Generator().manual_seed(mixed % (2**63 - 1))


def cosine_rate(step: int, steps: int, warmup_steps: int) -> float:
    """Factor of the learning rate: linear over the warm-up, then half a cosine down to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
