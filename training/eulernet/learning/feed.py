# SPDX-License-Identifier: Apache-2.0
"""Batches of clips, read from disk, or kept in the GPU's memory if they fit."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from eulernet.datasets.records import Video

Sample = tuple[Tensor, Tensor, Tensor, int]  # clip uint8 (T, H, W, 3), map float (S, S), live float (), index
Batch = tuple[Tensor, Tensor, Tensor]  # clips uint8 (N, T, H, W, 3), maps float (N, S, S), live float (N,)

SHARE_OF_FREE_MEMORY = 0.4  # of a GPU, for one split's clips; the other split and training need the rest


class Clips(Protocol):
    """Random access to samples, and to their videos' metadata without reading them; `ClipDataset` is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def video(self, index: int) -> Video: ...


class Feed:
    """Batches of one split.

    On a GPU, the clips are read once and kept there as uint8, because a training step takes less time than reading the
    next batch. If they do not fit, each batch is read from disk, as on a CPU.
    """

    def __init__(self, clips: Clips, device: torch.device) -> None:
        self.clips = clips
        self._held: Batch | None = None
        if device.type == "cuda" and len(clips):
            free, _ = torch.cuda.mem_get_info(device)
            if len(clips) * clips[0][0].nbytes < SHARE_OF_FREE_MEMORY * free:
                self._held = _held(clips, device)

    def batch(self, indices: Sequence[int], frames: Tensor | None = None) -> Batch:
        """The samples with these indices, on the GPU if it keeps them; `frames` as in `gather`."""
        if self._held is None:
            return gather(self.clips, indices, frames)
        clips, maps, live = self._held
        chosen = torch.tensor(indices, device=clips.device)
        of_clips = clips[chosen] if frames is None else clips[chosen[:, None], frames.to(clips.device)]
        return of_clips, maps[chosen], live[chosen]


def batches(count: int, size: int) -> Iterator[list[int]]:
    """The numbers 0 to `count` - 1 in lists of `size`."""
    for first in range(0, count, size):
        yield list(range(first, min(count, first + size)))


def gather(clips: Clips, indices: Sequence[int], frames: Tensor | None = None) -> Batch:
    """Samples as a batch in the host's memory. `frames`: int64 (N, T), the frames of each; None for all."""
    samples = [clips[i] for i in indices]
    chosen = [slice(None)] * len(samples) if frames is None else list(frames)
    return (
        torch.stack([sample[0][wanted] for sample, wanted in zip(samples, chosen, strict=True)]),
        torch.stack([sample[1] for sample in samples]),
        torch.tensor([float(sample[2]) for sample in samples]),
    )


def _held(clips: Clips, device: torch.device) -> Batch:
    """All samples as a batch on the device, filled one by one: `torch.stack` would need twice the memory."""
    whole = tuple(torch.empty((len(clips), *part.shape), dtype=part.dtype, device=device) for part in clips[0][:3])
    for i in range(len(clips)):
        for place, part in zip(whole, clips[i][:3], strict=True):
            place[i] = part
    return whole  # type: ignore[return-value]
