# SPDX-License-Identifier: Apache-2.0
"""Motion of a plane before a camera, as homographies: what a print or a display can do, and a living face can't.

Coordinates are x, y from -1 to 1 over a face crop, its middle at 0. A matrix maps the place of a point in the resting
picture to its place in a frame. Speeds are in px of the served crop, FACE_SIDE_PX wide, from a clip's frame to the
next.
"""

import torch
from torch import Tensor
from torch.nn import functional

from eulernet_core.tensors import FACE_SIDE_PX

HALF_PX = FACE_SIDE_PX / 2
# The speed of a motion is the mean over these points: the middle and four places about it, inside the face.
MEASURED_AT = ((0.0, 0.0), (-0.6, -0.6), (0.6, -0.6), (-0.6, 0.6), (0.6, 0.6))
# Sizes of the eight entries of a homography: turn, scale and shear; shift along x and y; tilt.
_OF_MOTION = (0.35, 0.35, 1.0, 0.35, 0.35, 1.0, 0.12, 0.12)
_OF_PLACE = (0.3, 0.3, 1.0, 0.3, 0.3, 1.0, 0.1, 0.1)
_MOST_UNSTEADY = 1.5
_ROUNDS = 3  # of scaling a motion to its speed, which is linear only for small motions
_WALKED_FRAMES = 6  # of a motion; a longer one goes back and forth, as a hand does, and stays before the camera
_FLATTEST = 0.2  # least depth of a point; a tilt beyond it would show the plane from behind


def moving(speeds_px: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Motions of turning, scaling, shearing, shifting and tilting at once, with a direction that varies over time.

    Args:
        speeds_px: float (N,), mean over MEASURED_AT and over the steps.
        frames: T, at least 2.
        generator: on the CPU.

    Returns:
        float (N, T, 3, 3); the first frame's is the identity.
    """
    n, sizes, walked = len(speeds_px), torch.tensor(_OF_MOTION), min(frames, _WALKED_FRAMES)
    sizes = sizes * torch.rand(n, 1, 8, generator=generator)  # some mostly shift, some mostly turn or tilt
    unsteady = _MOST_UNSTEADY * torch.rand(n, 1, 1, generator=generator)
    steady = torch.randn(n, 1, 8, generator=generator)
    velocity = sizes * (steady + unsteady * torch.randn(n, walked - 1, 8, generator=generator))
    way = torch.cat([torch.zeros(n, 1, 8), velocity.cumsum(1)], 1)
    way = way * (1e-2 / way.abs().amax((1, 2), keepdim=True).clamp_min(1e-9))
    for _ in range(_ROUNDS):
        found = steps_px(_matrices(way)).mean((1, 2)).clamp_min(1e-9)
        way = way * (speeds_px / found).view(n, 1, 1)
    return _matrices(way)[:, back_and_forth(torch.arange(frames), walked)]


def placed(count: int, reach_px: float, generator: torch.Generator) -> Tensor:
    """Small changes of place and view, of at most about `reach_px`, held for a whole clip: float (count, 1, 3, 3)."""
    draws = 2.0 * torch.rand(count, 1, 8, generator=generator) - 1.0
    return _matrices(draws * torch.tensor(_OF_PLACE) * (reach_px / HALF_PX))


def steps_px(matrices: Tensor) -> Tensor:
    """How far the points MEASURED_AT move from a frame to the next: float (N, T, 3, 3) to (N, T - 1, 5), px."""
    places = apply(matrices, torch.tensor(MEASURED_AT))
    steps: Tensor = (places[:, 1:] - places[:, :-1]).norm(dim=-1)
    return HALF_PX * steps


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """Places of points: float (..., 3, 3) and (..., P, 2) to (..., P, 2)."""
    moved = functional.pad(points, (0, 1), value=1.0) @ matrices.transpose(-1, -2)
    return moved[..., :2] / moved[..., 2:].clamp_min(_FLATTEST)


def corners(windows: Tensor) -> Tensor:
    """The corners of windows, left, top, right, bottom: float (N, 4) to (N, 1, 4, 2)."""
    left, top, right, bottom = windows.unbind(1)
    return torch.stack([left, top, right, top, left, bottom, right, bottom], 1).view(-1, 1, 4, 2)


def fitted(sources: Tensor, windows: Tensor) -> Tensor:
    """The sources, shifted and if need be enlarged so that no frame of a clip looks beyond the crop.

    The change is the same for all frames of a clip, so that the motion on the screen stays as it was.

    Args:
        sources: float (N, T, 3, 3), from a place in a frame to the place in the crop that is seen there.
        windows: float (N, 4), left, top, right, bottom of the part of the frame that is made, -1 to 1.
    """
    seen = apply(sources, corners(windows))
    low, high = seen.amin((1, 2)), seen.amax((1, 2))
    zoom = (2.0 / (high - low).amax(1).clamp_min(1e-6)).clamp_max(1.0)[:, None]
    low, high = zoom * low, zoom * high
    shift = (-1.0 - low).clamp_min(0.0) + (1.0 - high).clamp_max(0.0)
    fit = torch.zeros(len(sources), 1, 3, 3)
    fit[:, 0, 0, 0] = fit[:, 0, 1, 1] = zoom[:, 0]
    fit[:, 0, :2, 2], fit[:, 0, 2, 2] = shift, 1.0
    return fit @ sources


def sample(pictures: Tensor, sources: Tensor, side_px: int, mode: str) -> Tensor:
    """Looks at pictures through matrices.

    Args:
        pictures: float (N, T, C, H, W), or (N, 1, C, H, W) for one picture in all frames.
        sources: float (N, T, 3, 3), or (N, 1, 3, 3) for one view of all pictures: from a place in the result, -1 to 1
            over its side, to the place in the picture, -1 to 1 over its sides.
        side_px: side of the result.
        mode: `bilinear` or `bicubic`. Beyond a picture's edge its border is repeated.

    Returns:
        float (N, T, C, side_px, side_px).
    """
    n, pictured, channels, height, width = pictures.shape
    views = sources.shape[1]
    line = (torch.arange(side_px, device=pictures.device) + 0.5) * (2.0 / side_px) - 1.0
    y, x = torch.meshgrid(line, line, indexing="ij")
    grid = apply(sources.to(pictures.device), torch.stack([x, y], -1).view(-1, 2))
    # One view: the frames are channels of one picture. One picture: the views are one below the other.
    flat = functional.grid_sample(
        pictures.reshape(n, pictured * channels, height, width),
        grid.view(n, views * side_px, side_px, 2),
        mode=mode,
        padding_mode="border",
        align_corners=False,
    )
    if views == 1:
        return flat.view(n, pictured, channels, side_px, side_px)
    return flat.view(n, channels, views, side_px, side_px).transpose(1, 2)


def window_view(windows: Tensor) -> Tensor:
    """From a place in a window, -1 to 1, to the place in the frame: float (N, 4), as in `fitted`, to (N, 1, 3, 3)."""
    low, high = windows[:, :2], windows[:, 2:]
    view = torch.zeros(len(windows), 1, 3, 3)
    view[:, 0, :2, :2] = torch.diag_embed((high - low) / 2.0)
    view[:, 0, :2, 2], view[:, 0, 2, 2] = (high + low) / 2.0, 1.0
    return view


def back_and_forth(places: Tensor, length: int) -> Tensor:
    """Places on an endless line, int64, to those of a line of `length` that is walked to and fro: 0, 1, 2, 1, 0, ..."""
    period = max(2 * (length - 1), 1)
    places = places % period
    return torch.where(places < length, places, period - places)


def _matrices(entries: Tensor) -> Tensor:
    """The identity plus eight entries: float (..., 8) to (..., 3, 3)."""
    return functional.pad(entries, (0, 1)).reshape(*entries.shape[:-1], 3, 3) + torch.eye(3)
