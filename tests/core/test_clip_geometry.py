# SPDX-License-Identifier: Apache-2.0
"""Which frames of a source make a clip."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator

import pytest

from eulernet_core.clip_geometry import (
    CLIP_FRAMES,
    CLIP_SPAN,
    FRAME_INTERVAL,
    clip_indices,
    clip_starts,
    gather_clips,
    too_few_frames,
)


def test_default_clip() -> None:
    assert (CLIP_FRAMES, FRAME_INTERVAL, CLIP_SPAN) == (4, 3, 10)
    assert clip_indices(45) == [45, 48, 51, 54]


@pytest.mark.parametrize(
    ("frames", "clips", "starts", "reason"),
    [
        (9, 1, [], "one frame short"),
        (10, 1, [0], "exactly one clip"),
        (11, 1, [0], "the middle, rounded down"),
        (100, 1, [45], "the middle"),
        (100, 2, [20, 70], "the middles of the halves"),
        (100, 5, [5, 25, 45, 65, 85], "the middles of the fifths"),
        (12, 5, [0, 1, 2], "only as many as differ"),
        (10, 100, [0], "all the same"),
    ],
)
def test_clips_are_spread_evenly(frames: int, clips: int, starts: list[int], reason: str) -> None:
    assert clip_starts(frames, clips) == starts, reason


def test_clip_starts_stay_inside() -> None:
    for frames, clips in itertools.product(range(10, 60), range(1, 12)):
        starts = clip_starts(frames, clips)
        assert starts == sorted(set(starts))
        assert starts[0] >= 0
        assert starts[-1] <= frames - 10


def test_clips_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="clips=0"):
        clip_starts(100, 0)


@pytest.mark.parametrize(("count", "seen"), [(0, "0 frames"), (1, "1 frame,"), (9, "9 frames")])
def test_too_few_frames_names_both_numbers(count: int, seen: str) -> None:
    text = too_few_frames(count)
    assert seen in text
    assert str(CLIP_SPAN) in text


class _Item:
    """An object whose lifetime can be observed."""


def test_no_more_items_are_held_than_a_clip_needs() -> None:
    alive: weakref.WeakSet[_Item] = weakref.WeakSet()

    def items() -> Iterator[tuple[int, _Item]]:
        for number in range(3000):
            alive.add(item := _Item())
            yield number, item
            del item

    most = clips = 0
    for _ in gather_clips(clip_starts(3000, 250), items()):
        most, clips = max(most, len(alive)), clips + 1
    assert clips == 250
    assert most <= 20  # a clip spans 10


def test_clips_end_with_the_items() -> None:
    clips = list(gather_clips([0, 5, 30], enumerate(range(20)), first_number=7))
    assert [(clip.number, clip.indices, clip.items) for clip in clips] == [
        (7, [0, 3, 6, 9], (0, 3, 6, 9)),
        (8, [5, 8, 11, 14], (5, 8, 11, 14)),
    ]
