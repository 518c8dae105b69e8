# SPDX-License-Identifier: Apache-2.0
"""The cache of face crops as a torch data set."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from eulernet.datasets.crops import CropCache
from eulernet.datasets.records import Split, Video
from eulernet.labels import LABEL_KINDS, LabelKind

MOST_OPEN = 256  # memory maps at a time; each needs a file descriptor, and 1,024 is a usual limit of a process


class ClipDataset(Dataset[tuple[Tensor, Tensor, Tensor, int]]):
    """Clips of a cache, memory-mapped, so that only the used frames are read.

    Item i: clip uint8 (T, H, W, 3) RGB; label map fp32 (S, S) of the clip's first frame, 0 for attacks; live fp32 (),
    1 or 0; i.
    """

    def __init__(
        self,
        cache: CropCache,
        kind: LabelKind = "location",
        splits: Collection[Split] | None = None,
        labelled: bool = True,
    ) -> None:
        """
        Args:
            cache: a result of build_crop_cache.
            kind: of the label maps.
            splits: the splits to take videos from; None for all.
            labelled: leave out live clips without landmarks, which have no label map; False for evaluation, which
                scores every clip.
        """
        self._kind = LABEL_KINDS.index(kind)
        self._entries = [e for e in cache.entries if e.file is not None and (splits is None or e.video.split in splits)]
        self._open: dict[int, NDArray[Any]] = {}
        self._where: list[tuple[int, int]] = []
        for number, entry in enumerate(self._entries):
            kept: Any = np.arange(entry.clips)
            if labelled and entry.video.live:
                kept = np.flatnonzero(np.isfinite(self._clips(number)["landmarks"][:, 0, 0]))
            self._where += [(number, int(clip)) for clip in kept]
        self._open.clear()

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, int]:
        number, clip = self._where[index]
        records = self._clips(number)
        live = self._entries[number].video.live
        label = np.array(records["labels"][clip, self._kind])
        return (
            torch.from_numpy(records["crops"][clip]),
            torch.from_numpy(label if live else np.zeros_like(label)),
            torch.tensor(float(live)),
            index,
        )

    def video(self, index: int) -> Video:
        """The video of clip `index`."""
        return self._entries[self._where[index][0]].video

    def start(self, index: int) -> int:
        """Number of the first frame of clip `index` in its video."""
        number, clip = self._where[index]
        return int(self._clips(number)[clip]["start"])

    def __getstate__(self) -> dict[str, Any]:
        # A loader's process opens its own memory maps.
        return self.__dict__ | {"_open": {}}

    def _clips(self, number: int) -> NDArray[Any]:
        if number not in self._open:
            file = self._entries[number].file
            if file is None:
                raise IndexError(f"entry {number} has no clips")
            if len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[number] = np.load(file, mmap_mode="c")  # torch has no tensors that can't be written
        return self._open[number]
