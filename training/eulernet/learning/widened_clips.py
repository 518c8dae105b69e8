# SPDX-License-Identifier: Apache-2.0
"""A development set in which stills and resampled clips count as well, for the choice of epoch and threshold."""

import dataclasses
from pathlib import Path

import torch

from eulernet.datasets.records import Video
from eulernet.evaluation.stress_figures import FROZEN, RESAMPLED
from eulernet.learning.feed import Clips, Sample
from eulernet.learning.settings import TwinSettings
from eulernet.learning.twins import resampled

NOISE = 0.01  # standard deviation, a share of white


class WidenedClips:
    """A set's clips; after them a frozen twin of each bona fide clip, an attack; then a resampled copy, bona fide.

    They are the same in every run.
    """

    def __init__(self, clips: Clips) -> None:
        self._clips = clips
        self._live = [i for i in range(len(clips)) if clips.video(i).live]

    def __len__(self) -> int:
        return len(self._clips) + 2 * len(self._live)

    def __getitem__(self, index: int) -> Sample:
        copy, source = self._source(index)
        clip, target, live, _ = self._clips[source]
        if copy == 1:
            return clip[:1].repeat(len(clip), 1, 1, 1), torch.zeros_like(target), torch.zeros_like(live), index
        if copy == 2:
            clip = resampled(clip, NOISE, torch.Generator().manual_seed(source))
        return clip, target, live, index

    def video(self, index: int) -> Video:
        """The video of a clip, for a copy with a path of its own; a frozen twin is an attack, the instrument FROZEN."""
        copy, source = self._source(index)
        video = self._clips.video(source)
        if copy == 1:
            return dataclasses.replace(video, path=Path(f"{FROZEN}/{video.path}"), label="attack", instrument=FROZEN)
        return dataclasses.replace(video, path=Path(f"{RESAMPLED}/{video.path}")) if copy == 2 else video

    def _source(self, index: int) -> tuple[int, int]:
        """0 for a clip as it is, 1 for a frozen twin, 2 for a resampled copy; and the number of the clip behind it."""
        beyond = index - len(self._clips)
        if beyond < 0:
            return 0, index
        return 1 + beyond // len(self._live), self._live[beyond % len(self._live)]


def widened(clips: Clips, settings: TwinSettings) -> Clips:
    """The development set of a run: widened if it trains with twins."""
    return WidenedClips(clips) if settings.on else clips
