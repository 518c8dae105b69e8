# SPDX-License-Identifier: Apache-2.0
"""A data set that any system learns in seconds: attacks have a fine raster."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eulernet.datasets.records import Video

SIDE_PX, FRAMES, CELLS = 64, 2, 8


class RasteredClips:
    """Clips of patches of colour with noise; odd ones are bona fide, with a square as target."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        patch = SIDE_PX // 4
        dark = (np.arange(SIDE_PX)[:, None] + np.arange(SIDE_PX)) // 4 % 2
        self.clips = []
        for i in range(count):
            picture = np.kron(random.uniform(60, 190, (4, 4, 3)), np.ones((patch, patch, 1)))
            picture = picture + 40 * (2 * dark - 1)[:, :, None] * (i % 2 == 0)
            clip = picture + random.normal(0, 3, (FRAMES, SIDE_PX, SIDE_PX, 3))
            self.clips.append(torch.from_numpy(np.clip(clip, 0, 255).astype(np.uint8)))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, int]:
        live = float(index % 2)
        target = torch.zeros(CELLS, CELLS)
        target[2:6, 2:6] = 0.8 * live
        return self.clips[index], target, torch.tensor(live), index

    def video(self, index: int) -> Video:
        live = index % 2 == 1
        instrument = "bona_fide" if live else "print1"
        return Video(Path(str(index)), "live" if live else "attack", instrument, str(index), None, None, "train", "v")
