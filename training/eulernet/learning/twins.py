# SPDX-License-Identifier: Apache-2.0
"""Twins of bona fide clips as attacks: one of its frames held still, or moved as a plane, like a print by a hand.

A twin has a living face's colours and texture, so that only time tells them apart. Resampling, noise and the part of
the crop are drawn alike for twins and for all other clips, so that none of these is a cue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eulernet.learning.augmentation import cut_windows
from eulernet.learning.settings import WINDOW_STEP_PX, AugmentationSettings, TwinSettings
from eulernet.planar_motion import apply, corners, fitted, moving, placed, sample, window_view

REACH_PX = 3.0  # of the view that is held for a whole clip
_MODES = ("bilinear", "bicubic")
_EDGE_PX = 3  # that an interpolation looks beyond a place


@dataclass(frozen=True)
class _Plan:
    """What becomes of a batch's clips and of the twins after them, K in all.

    source: number of the clip in the batch. still: number of a twin's only frame, -1 for the batch's own clips.
    windows: float (K, 4), left, top, right, bottom of the window, -1 to 1 over the crop. view: float (K, T, 3, 3), from
    a place in the crop to the place that is seen there; only moved twins use more than the first frame's. mode: number
    of the interpolation, -1 for a clip that is not resampled.
    """

    source: list[int]
    still: list[int]
    moved: list[bool]
    windows: Tensor
    view: Tensor
    mode: list[int]

    def rows(self, mode: int, twin: bool, moved: bool) -> list[int]:
        """The numbers of one kind of clips."""
        wanted = (mode, twin, moved)
        found = zip(self.mode, self.still, self.moved, strict=True)
        return [k for k, (its, still, moves) in enumerate(found) if (its, still >= 0, moves) == wanted]


def with_twins(
    clips: Tensor,
    targets: Tensor,
    live: Tensor,
    settings: TwinSettings,
    augmentation: AugmentationSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Cuts a batch's clips to windows, as `cut_windows`, and adds twins of its bona fide clips after them.

    A batch without a bona fide clip gets twins of its attacks, which are attacks as well, so that the number of twins
    depends on the size of the batch alone.

    Args:
        clips: uint8 (N, T, H, H, 3).
        targets: float (N, S, S) or (N, T, S, S).
        live: float (N,), 1 for bona fide.
        settings: with both shares 0, the result is that of `cut_windows`, and so are the draws.
        augmentation: `window_px` is the windows' side; 0 for whole crops.
        generator: on the CPU; it determines everything.

    Returns:
        Both, for N clips and the twins; a twin's target is zero.
    """
    if not settings.on:
        return cut_windows(clips, targets, augmentation, generator)
    side = augmentation.window_px or clips.shape[2]
    plan = _plan(clips.shape, live.tolist(), side, settings, generator)
    pictures = clips.new_empty((len(plan.source), clips.shape[1], side, side, 3))
    for k in (k for k, mode in enumerate(plan.mode) if mode < 0):
        left, top = (round(edge) for edge in ((plan.windows[k, :2] + 1.0) * (clips.shape[2] / 2)).tolist())
        pictures[k] = _frames(clips, plan, k)[:, top : top + side, left : left + side]
    for mode in range(len(_MODES)):
        for twin, moved in ((False, False), (True, False), (True, True)):
            rows = plan.rows(mode, twin, moved)
            if rows:
                for k, seen in zip(rows, _seen(clips, plan, rows, side), strict=True):
                    pictures[k] = seen
    _add_noise(pictures, settings, generator)
    return pictures, _maps(targets, plan, side * targets.shape[-1] // clips.shape[2])


def resampled(clip: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """A clip, uint8 (T, H, H, 3), in another view held for all frames, with noise of this standard deviation."""
    whole = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    view = fitted(placed(1, REACH_PX, generator), whole)
    seen = sample(clip.permute(0, 3, 1, 2)[None].float(), view, clip.shape[1], _MODES[0])
    seen = seen[0].permute(0, 2, 3, 1)
    return _rounded(seen + 255.0 * noise * torch.randn(seen.shape, generator=generator))


def _plan(
    shape: Sequence[int], live: Sequence[float], side: int, settings: TwinSettings, generator: torch.Generator
) -> _Plan:
    n, frames, whole = shape[:3]
    moved = round(settings.moved * n)
    twins = round(settings.frozen * n) + moved
    total = n + twins
    lives = [i for i, each in enumerate(live) if each > 0.5] or list(range(n))
    chosen = torch.randint(len(lives), (twins,), generator=generator).tolist()
    still = torch.randint(frames, (twins,), generator=generator).tolist()
    moves = torch.arange(total) >= total - moved
    again, cubic, even, place = torch.rand(4, total, generator=generator)
    mode = torch.where((again < settings.resampled) | moves, (cubic < 0.5).long(), -1)
    corner = torch.randint((whole - side) // WINDOW_STEP_PX + 1, (total, 2), generator=generator) * WINDOW_STEP_PX
    windows = torch.cat([corner, corner + side], 1) * (2.0 / whole) - 1.0
    # Every octave of speed alike for one half, every speed alike for the other.
    low, high = settings.slowest_px, settings.fastest_px
    speeds = torch.where(even < 0.5, low * (high / low) ** place, low + (high - low) * place)
    # The view of a clip that is not moved is fitted as if it were, or its part of the crop would tell.
    way = torch.linalg.inv(moving(speeds, frames, generator))
    view = fitted(placed(total, REACH_PX, generator) @ way, windows)
    source = [*range(n), *(lives[i] for i in chosen)]
    return _Plan(source, [-1] * n + still, moves.tolist(), windows, view, mode.tolist())


def _frames(clips: Tensor, plan: _Plan, k: int) -> Tensor:
    """The frames behind clip k: uint8 (T, H, H, 3), or (1, H, H, 3) for a twin."""
    clip, still = clips[plan.source[k]], plan.still[k]
    return clip if still < 0 else clip[still : still + 1]


def _seen(clips: Tensor, plan: _Plan, rows: list[int], side: int) -> Tensor:
    """The windows of resampled clips of one kind: uint8 (len(rows), T or 1, side, side, 3)."""
    whole = clips.shape[2]
    views, windows = plan.view[rows], plan.windows[rows]
    if not plan.moved[rows[0]]:
        views = views[:, :1]
    # Only the region that is seen becomes float.
    places = (apply(views, corners(windows)) + 1.0) * (whole / 2)
    low, high = places.amin((1, 2)), places.amax((1, 2))
    region = min(whole, int((high - low).amax()) + 2 * _EDGE_PX + 2)
    first = (low.floor().long() - _EDGE_PX).clamp(0, whole - region)
    parts = torch.stack(
        [
            _frames(clips, plan, k)[:, top : top + region, left : left + region]
            for k, (left, top) in zip(rows, first.tolist(), strict=True)
        ]
    )
    bounds = torch.cat([first, first + region], 1) * (2.0 / whole) - 1.0
    sources = torch.linalg.inv(window_view(bounds)) @ views @ window_view(windows)
    pictures = parts.permute(0, 1, 4, 2, 3).float()
    seen = sample(pictures, sources, side, _MODES[plan.mode[rows[0]]])
    return _rounded(seen.permute(0, 1, 3, 4, 2))


def _maps(targets: Tensor, plan: _Plan, side: int) -> Tensor:
    """The targets as seen in the windows, of `side` cells; zeros for twins."""
    framed = (targets if targets.ndim == 4 else targets.unsqueeze(1)).unsqueeze(2)
    n = len(targets)
    views = torch.where(torch.tensor(plan.mode[:n]).view(n, 1, 1, 1) < 0, torch.eye(3), plan.view[:n, :1])
    seen = sample(framed, views @ window_view(plan.windows[:n]), side, _MODES[0]).squeeze(2)
    seen = torch.cat([seen, seen.new_zeros((len(plan.source) - n, *seen.shape[1:]))])
    return seen if targets.ndim == 4 else seen.squeeze(1)


def _add_noise(pictures: Tensor, settings: TwinSettings, generator: torch.Generator) -> None:
    """Adds noise to some clips in place, uint8 (K, T, H, W, 3), drawn on their own device.

    Each clip's noise is a part of one strip of normal numbers, because drawing takes longer than all the rest.
    """
    chosen, strength = torch.rand(2, len(pictures), generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    rows = torch.nonzero(chosen < settings.noised).flatten()
    if not len(rows):
        return
    deviation = (255.0 * settings.noise * strength[rows]).to(pictures.device)
    rows = rows.to(pictures.device)
    clean = pictures[rows]
    own = torch.Generator(pictures.device).manual_seed(seed)
    length = pictures[0].numel()
    strip = torch.randn(2 * length, generator=own, device=pictures.device)
    first = torch.randint(length, (len(rows),), generator=generator).tolist()
    noise = torch.stack([strip[start : start + length] for start in first]).view(clean.shape)
    noisy = _rounded(noise.mul_(deviation.view(-1, 1, 1, 1, 1)).add_(clean))
    pictures.index_copy_(0, rows, noisy)


def _rounded(pixels: Tensor) -> Tensor:
    """As a camera stores them: float to uint8. Changes `pixels`."""
    return pixels.round_().clamp_(0.0, 255.0).to(torch.uint8)
