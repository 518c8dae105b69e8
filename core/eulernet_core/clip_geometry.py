# SPDX-License-Identifier: Apache-2.0
"""Which frames of a source make a clip: 4 frames, every 3rd of 30 frames/s. Client, training and service use one rule.

Frames with time stamps are chosen by time, a tenth of a second apart; frames without are chosen by number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Generic, TypeVar

T = TypeVar("T")

CLIP_FRAMES = 4  # T, the slides' sequence length
FRAME_INTERVAL = 3  # the slides' frame interval
NOMINAL_FPS = 30  # of the method's videos
FRAME_SPACING_S = FRAME_INTERVAL / NOMINAL_FPS  # from one frame of a clip to the next

# Time stamps in whole milliseconds are off by up to 1 ms each. Frames that are equally near up to this are a tie.
_TIE_S = 0.002


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
    span = clip_span(frames, interval)
    return _placed(frame_count, clips, span, frame_count - span)


def _placed(frame_count: int, clips: int, span: int, last: int) -> list[int]:
    """`span`: source frames of one clip; `last`: the last frame at which a clip can begin, below 0 if there is none."""
    if clips < 1:
        raise ValueError(f"clips={clips}: ask for at least 1")
    if last < 0:
        return []
    centres = ((2 * k + 1) * frame_count / (2 * clips) for k in range(clips))
    return sorted({min(last, max(0, int(centre - span / 2))) for centre in centres})


def clip_indices(start: int, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> list[int]:
    """The source frames of the clip that begins at frame `start`, chosen by number."""
    return [start + interval * t for t in range(frames)]


def timed_clips(
    times_s: Sequence[float],
    clips: int = 1,
    frames: int = CLIP_FRAMES,
    interval: int = FRAME_INTERVAL,
    keyframes: Sequence[int] = (),
) -> list[list[int]]:
    """Frame numbers of evenly placed clips, chosen by time; at 30 frames/s those of `clip_starts` and `clip_indices`.

    Each frame is the one nearest to its time after the clip's first frame, the earlier of two equally near ones. The
    numbers of a clip strictly increase, so that a video with fewer than 10 frames/s gives consecutive frames.

    Args:
        times_s: time of each frame, s, ascending.
        clips: how many, spread evenly; fewer if the video is too short for so many different ones.
        frames: of one clip.
        interval: time between a clip's frames, in frames of a video with NOMINAL_FPS.
        keyframes: ascending numbers of frames; a clip begins at the one nearest to its place at which the whole clip
            lies within its part of the source, so that no two clips share a frame. A part without one keeps its place.
    Raises:
        ValueError: `clips` is below 1.
    """
    last = _last_start(times_s, frames, interval)
    span = timed_span(times_s, frames, interval)
    starts = [
        _moved(start, keyframes, len(times_s) / clips, span, last) for start in _placed(len(times_s), clips, span, last)
    ]
    return [_nearest_frames(times_s, start, frames, interval / NOMINAL_FPS) for start in starts]


def _moved(start: int, keyframes: Sequence[int], part: float, span: int, last: int) -> int:
    """Where a clip that would begin at `start` begins, see `timed_clips`. `part`: source frames of a clip's part."""
    number = int((start + span / 2) / part)
    first = bisect_left(keyframes, number * part)
    end = bisect_right(keyframes, min((number + 1) * part - span, last))
    return min(keyframes[first:end], key=lambda frame: abs(frame - start), default=start)


def timed_clip(times_s: Sequence[float], start: int) -> list[int]:
    """Frame numbers of the clip of `timed_clips` that begins at frame `start`; empty if the video ends before it."""
    if start > _last_start(times_s, CLIP_FRAMES, FRAME_INTERVAL):
        return []
    return _nearest_frames(times_s, start, CLIP_FRAMES, FRAME_SPACING_S)


def timed_span(times_s: Sequence[float], frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> int:
    """`clip_span` in a video with frames at these times, if they are steady."""
    steps = (frames - 1) * interval / (NOMINAL_FPS * _mean_gap(times_s))
    return max(frames, ceil(steps - 0.51) + 1)  # halves are rounded down, whatever the rounding of the time stamps


def _last_start(times_s: Sequence[float], frames: int, interval: int) -> int:
    """The last frame at which a clip can begin; below 0 if there is none."""
    if not times_s:
        return -1
    spacing = interval / NOMINAL_FPS
    # The last frame is also nearest to a time up to half a frame later.
    latest = times_s[-1] + min(_mean_gap(times_s), spacing) / 2 + _TIE_S - (frames - 1) * spacing
    return min(len(times_s) - frames, bisect_right(times_s, latest) - 1)


def _mean_gap(times_s: Sequence[float]) -> float:
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 1 / NOMINAL_FPS


def _nearest_frames(times_s: Sequence[float], start: int, frames: int, spacing_s: float) -> list[int]:
    chosen = [start]
    for number in range(1, frames):
        time = times_s[start] + number * spacing_s
        later = min(bisect_left(times_s, time, chosen[-1]), len(times_s) - 1)
        earlier = max(later - 1, 0)
        nearest = later if time - times_s[earlier] > times_s[later] - time + _TIE_S else earlier
        room = len(times_s) - frames + number  # the later frames of the clip need one each
        chosen.append(min(max(nearest, chosen[-1] + 1), room))
    return chosen


def spacing_warning(indices: Sequence[int], times_s: Sequence[float], interval: int = FRAME_INTERVAL) -> str:
    """What is wrong with the times of a clip's frames, or "".

    Args:
        indices: the frames' numbers in the video.
        times_s: the frames' times, s.
        interval: as in `timed_clips`.
    """
    spacing = interval / NOMINAL_FPS
    seconds = times_s[-1] - times_s[0]
    widest = max((b - a for a, b in pairwise(times_s)), default=0.0)
    apart = f"frames of a clip are up to {widest:.2f} s apart instead of {spacing:g} s"
    if (indices[-1] - indices[0]) * spacing < 0.995 * seconds:
        rate = (indices[-1] - indices[0]) / seconds
        return f"{apart}: the video has {rate:.1f} frames/s, record at least {1 / spacing:g}"
    worst = max(abs(time - times_s[0] - number * spacing) for number, time in enumerate(times_s))
    return f"{apart}: the video has gaps, record at a steady frame rate" if worst > spacing / 2 + _TIE_S else ""


def too_few_frames(frame_count: int, frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> str:
    """Error text for a source without time stamps that is shorter than one clip."""
    every = {1: "every frame", 2: "every 2nd", 3: "every 3rd"}.get(interval, f"every {interval}th")
    return f"{_frames(frame_count)}, needs at least {clip_span(frames, interval)} ({frames} frames, {every})"


def too_short(times_s: Sequence[float], frames: int = CLIP_FRAMES, interval: int = FRAME_INTERVAL) -> str:
    """Error text for a video that is shorter than one clip: its frames and seconds, and the frames that it needs."""
    count, gap = len(times_s), _mean_gap(times_s)
    seen = _frames(count) + (f" in {count * gap:.2f} s" if count > 1 else "")
    needs = f"needs at least {timed_span(times_s, frames, interval)} at {1 / gap:.4g} frames/s"
    return f"{seen}, {needs} ({frames} frames, {interval / NOMINAL_FPS:.3g} s apart)"


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


@dataclass(frozen=True)
class Clip(Generic[T]):
    """The frames of one clip, as pictures, JPEGs or whatever the caller reads.

    Attributes:
        number: which of the source's clips, from 0.
        indices: the frames' numbers in the source, from 0.
        items: one for each index.
        warning: what is wrong with the frames' times, or "".
    """

    number: int
    indices: list[int]
    items: tuple[T, ...]
    warning: str = ""


def gather_clips(
    clips: Iterable[list[int]], items: Iterable[tuple[int, T]], first_number: int = 0
) -> Iterator[Clip[T]]:
    """Groups items into clips. Holds no more items than the clips at hand need. Ends early where the items do.

    Args:
        clips: the source indices of each clip, ascending, in the order of their first ones.
        items: each with its source index, in order.
        first_number: of the first clip.
    """
    held: dict[int, T] = {}
    coming = iter(items)
    for number, indices in enumerate(clips, first_number):
        held = {index: item for index, item in held.items() if index >= indices[0]}
        while indices[-1] not in held:
            found = next(coming, None)
            if found is None:
                return
            held[found[0]] = found[1]
        yield Clip(number, indices, tuple(held[index] for index in indices))
