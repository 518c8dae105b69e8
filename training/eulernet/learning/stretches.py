# SPDX-License-Identifier: Apache-2.0
"""Training clips cut anew in each use from longer stretches of video: at any place, with uneven times, with a past.

A clip that always begins a sequence teaches nothing about the filters' state after more frames than it has, and a
stream goes on for minutes. So a clip may have a past, which passes through the filters without a loss.
"""

import torch
from torch import Tensor

from eulernet.learning.settings import DataSettings
from eulernet.planar_motion import back_and_forth
from eulernet_core.clip_geometry import CLIP_FRAMES, CLIP_SPAN, FRAME_INTERVAL

_WITHOUT_PAST = 0.5  # of the batches: every sequence also has a beginning


def drawn_frames(count: int, settings: DataSettings, generator: torch.Generator) -> Tensor:
    """The frames of a batch's clips, each with a past of the same length.

    Args:
        count: of clips, N.
        settings: `stretch_frames`, `longest_past` and `uneven`.
        generator: on the CPU.

    Returns:
        int64 (N, P + CLIP_FRAMES): numbers of frames of each clip's stretch. A past longer than what the stretch has
        before the clip goes back and forth in it.
    """
    beginning, length = torch.rand(2, generator=generator).tolist()
    past = 0 if beginning < _WITHOUT_PAST else int(length * settings.longest_past) + 1
    past = min(past, settings.longest_past)
    first = torch.randint(settings.stretch_frames - CLIP_SPAN + 1, (count, 1), generator=generator)
    uneven = torch.rand(count, 1, generator=generator) < settings.uneven
    shifts = torch.randint(-1, 2, (count, past + CLIP_FRAMES), generator=generator)
    places = first + FRAME_INTERVAL * torch.arange(-past, CLIP_FRAMES) + torch.where(uneven, shifts, 0)
    return back_and_forth(places, settings.stretch_frames)
