# SPDX-License-Identifier: Apache-2.0
"""Which frames of a source make a clip."""

from __future__ import annotations

import itertools
import random
import weakref
from collections.abc import Iterator
from itertools import pairwise

import pytest

from eulernet_core.clip_geometry import (
    CLIP_FRAMES,
    CLIP_SPAN,
    FRAME_INTERVAL,
    FRAME_SPACING_S,
    clip_indices,
    clip_starts,
    gather_clips,
    spacing_warning,
    timed_clip,
    timed_clips,
    timed_span,
    too_few_frames,
    too_short,
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


def at_rate(count: int, rate: float, digits: int = 9) -> list[float]:
    return [round(number / rate, digits) for number in range(count)]


@pytest.mark.parametrize("digits", [9, 3])
def test_thirty_frames_a_second_give_every_third_frame(digits: int) -> None:
    """Also where the time stamps are whole milliseconds, as in WebM."""
    for count, clips in itertools.product([*range(30), 90, 100, 301, 3000], (1, 2, 3, 7, 30)):
        expected = [clip_indices(start) for start in clip_starts(count, clips)]
        assert timed_clips(at_rate(count, 30, digits), clips) == expected, (count, clips)


@pytest.mark.parametrize(("frames", "interval"), [(4, 3), (3, 5), (1, 1), (2, 30), (8, 1)])
def test_other_intervals_are_frames_of_thirty_a_second(frames: int, interval: int) -> None:
    for count, clips in itertools.product((0, 1, 10, 35, 64, 200), (1, 4)):
        expected = [clip_indices(start, frames, interval) for start in clip_starts(count, clips, frames, interval)]
        assert timed_clips(at_rate(count, 30), clips, frames, interval) == expected


@pytest.mark.parametrize("count", [11, 100, 1001, 20000])
def test_television_rates_count_as_the_whole_ones(count: int) -> None:
    """30000/1001 frames/s: the frames of 30 frames/s, however long the video is."""
    assert timed_clips(at_rate(count, 30000 / 1001), 5) == timed_clips(at_rate(count, 30), 5)


@pytest.mark.parametrize(
    ("rate", "steps"),
    [
        (10, [0, 1, 2, 3]),
        (15, [0, 1, 3, 4]),
        (24, [0, 2, 5, 7]),
        (25, [0, 2, 5, 7]),
        (50, [0, 5, 10, 15]),
        (60, [0, 6, 12, 18]),
        (60000 / 1001, [0, 6, 12, 18]),
        (120, [0, 12, 24, 36]),
        (240, [0, 24, 48, 72]),
    ],
)
def test_other_rates_give_the_nearest_frames(rate: float, steps: list[int]) -> None:
    times = at_rate(round(10 * rate), rate)
    for indices in timed_clips(times, 5):
        assert [index - indices[0] for index in indices] == steps
        assert spacing_warning(indices, [times[index] for index in indices]) == ""
    (middle,) = timed_clips(times, 1)
    assert (times[middle[0]] + times[middle[-1]]) / 2 == pytest.approx(5, abs=1.5 / rate + 0.01)


@pytest.mark.parametrize("rate", [5, 15, 25, 30, 60])
def test_a_clip_at_a_start_is_the_one_that_was_placed_there(rate: int) -> None:
    times = at_rate(5 * rate, rate)
    for indices in timed_clips(times, 7):
        assert timed_clip(times, indices[0]) == indices
    last = len(times) - timed_span(times)
    assert timed_clip(times, last)[-1] == len(times) - 1
    assert timed_clip(times, last + 1) == []
    assert timed_clip([], 0) == []


@pytest.mark.parametrize("rate", [1, 5, 8, 9.8])
def test_slow_videos_give_consecutive_frames_and_a_warning(rate: float) -> None:
    times = at_rate(40, rate)
    for indices in timed_clips(times, 6):
        assert [index - indices[0] for index in indices] == [0, 1, 2, 3]
        assert f"{rate:.1f} frames/s" in spacing_warning(indices, [times[index] for index in indices])


def test_variable_rates_give_the_nearest_frames_strictly_increasing() -> None:
    rng = random.Random(3)
    warned = 0
    for _ in range(300):
        gaps = [rng.choice([0.004, 0.016, 0.033, 0.05, 0.5]) * rng.uniform(0.8, 1.2) for _ in range(rng.randrange(200))]
        times = list(itertools.accumulate(gaps, initial=0.0))
        for indices in timed_clips(times, rng.randrange(1, 9)):
            assert indices == sorted(set(indices))
            assert indices[0] >= 0
            assert indices[-1] < len(times)
            chosen = [times[index] for index in indices]
            for number, index in enumerate(indices[1:], 1):
                time = times[indices[0]] + number * FRAME_SPACING_S
                nearest = min(abs(each - time) for each in times)
                crowded = index == indices[number - 1] + 1 or index == len(times) - CLIP_FRAMES + number
                assert abs(times[index] - time) <= nearest + 0.002 or crowded
            off = max(abs(time - chosen[0] - n * FRAME_SPACING_S) for n, time in enumerate(chosen))
            if off > FRAME_SPACING_S / 2 + 0.002:
                assert spacing_warning(indices, chosen), chosen
                warned += 1
    assert warned > 50


@pytest.mark.parametrize(
    ("rate", "needed"), [(5, 4), (10, 4), (15, 5), (24, 8), (25, 8), (30, 10), (50, 16), (60, 19), (120, 37)]
)
def test_too_short_names_frames_and_seconds(rate: int, needed: int) -> None:
    assert len(timed_clips(at_rate(needed, rate))) == 1
    times = at_rate(needed - 1, rate)
    assert timed_clips(times) == []
    text = too_short(times)
    for part in (f"{needed - 1} frames in {(needed - 1) / rate:.2f} s", f"at least {needed} at {rate} frames/s"):
        assert part in text


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
    for _ in gather_clips([clip_indices(start) for start in clip_starts(3000, 250)], items()):
        most, clips = max(most, len(alive)), clips + 1
    assert clips == 250
    assert most <= 20  # a clip spans 10


def test_clips_end_with_the_items() -> None:
    plan = [clip_indices(start) for start in (0, 5, 30)]
    clips = list(gather_clips(plan, enumerate(range(20)), first_number=7))
    assert [(clip.number, clip.indices, clip.items) for clip in clips] == [
        (7, [0, 3, 6, 9], (0, 3, 6, 9)),
        (8, [5, 8, 11, 14], (5, 8, 11, 14)),
    ]


def test_clips_move_to_the_nearest_keyframe_of_their_part() -> None:
    def starts(keyframes: list[int], clips: int = 1, count: int = 90) -> list[int]:
        return [indices[0] for indices in timed_clips(at_rate(count, 30), clips, keyframes=keyframes)]

    assert starts([]) == [40]
    assert starts([0, 30, 60]) == [30]
    assert starts([0, 44, 88]) == [44], "behind its place, too"
    assert starts([0, 81]) == [0], "at 81 the clip would not end within the video"
    assert starts([80]) == [80]
    assert starts([0, 30, 60], clips=3) == [0, 30, 60]
    assert starts([0], clips=3) == [0, 40, 70], "parts without a keyframe keep their place"
    assert starts([0, 25], clips=3) == [0, 40, 70], "a clip from 25 would reach into the next part"
    assert starts([0, 5, 10], clips=40, count=20) == starts([], clips=40, count=20), "parts shorter than a clip"


def test_moved_clips_keep_order_and_share_no_frame() -> None:
    rng = random.Random(2)
    for _ in range(300):
        count, clips = rng.randrange(10, 400), rng.randrange(1, 9)
        keyframes = sorted(rng.sample(range(count), rng.randrange(0, min(count, 12))))
        times = at_rate(count, rng.choice([15, 25, 30, 60]))
        places, moved = timed_clips(times, clips), timed_clips(times, clips, keyframes=keyframes)
        assert len(moved) == len(places)
        for (a, b), (c, d) in zip(pairwise(places), pairwise(moved), strict=True):
            assert c[-1] < d[0] or a[-1] >= b[0], (count, clips, keyframes)
        for place, clip in zip(places, moved, strict=True):
            assert clip[0] in (place[0], *keyframes)
            assert clip[-1] - clip[0] == place[-1] - place[0]
