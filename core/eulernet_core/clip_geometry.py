# SPDX-License-Identifier: Apache-2.0
"""Which frames of a source make a clip: 4 frames, every 3rd source frame. Client, training and service use one rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

CLIP_FRAMES = 4  # T, the slides' sequence length
FRAME_INTERVAL = 3  # the slides' frame interval


def clip_span(frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> int:
    """Source frames from a clip's first frame to its last, both included."""
    return (frames - 1) * interval + 1


CLIP_SPAN = clip_span()


def clip_starts(
    frame_count: int, clips: int = 1, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL
) -> list[int]:
    """First frames of evenly placed clips: the k-th is centred in the k-th of `clips` equal parts of the source.

    A source too short for so many different clips gives fewer; one shorter than a clip gives none.

    Raises:
        ValueError: `clips` is below 1.
    """
    if clips < 1:
        raise ValueError(f"clips={clips}: ask for at least 1")
    span = clip_span(frames, interval)
    last = frame_count - span
    if last < 0:
        return []
    centres = ((2 * k + 1) * frame_count / (2 * clips) for k in range(clips))
    return sorted({min(last, max(0, int(centre - span / 2))) for centre in centres})


def clip_indices(start: int, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> list[int]:
    """The source frames of the clip that begins at frame `start`."""
    return [start + interval * t for t in range(frames)]


def too_few_frames(frame_count: int, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> str:
    """Error text for a source that is shorter than one clip."""
    seen = "1 frame" if frame_count == 1 else f"{frame_count} frames"
    every = {1: "every frame", 2: "every 2nd", 3: "every 3rd"}.get(interval, f"every {interval}th")
    return f"{seen}, needs at least {clip_span(frames, interval)} ({frames} frames, {every})"


@dataclass(frozen=True)
class Clip(Generic[T]):
    """The frames of one clip, as pictures, JPEGs or whatever the caller reads.

    Attributes:
        number: which of the source's clips, from 0.
        indices: the frames' numbers in the source, from 0.
        items: one for each index.
    """

    number: int
    indices: list[int]
    items: tuple[T, ...]


def gather_clips(
    starts: list[int],
    items: Iterable[tuple[int, T]],
    first_number: int = 0,
    frames: int = CLIP_FRAMES,
    interval: int = FRAME_INTERVAL,
) -> Iterator[Clip[T]]:
    """Groups items, which come with their source index and in order, into the clips that begin at `starts`.

    Holds no more items than the clips at hand need. Ends early where the items do.
    """
    held: dict[int, T] = {}
    coming = iter(items)
    for number, start in enumerate(starts, first_number):
        indices = clip_indices(start, frames, interval)
        held = {index: item for index, item in held.items() if index >= start}
        while indices[-1] not in held:
            found = next(coming, None)
            if found is None:
                return
            held[found[0]] = found[1]
        yield Clip(number, indices, tuple(held[index] for index in indices))
