# SPDX-License-Identifier: Apache-2.0
"""Counts frames, clips and scores of one ensemble. The stage that sees the final STATUS of its frames counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eulernet_core.status import Status
from eulernet_core.tensors import CLIP_MODEL, UNCOUNTED_REQUEST_IDS
from eulernet_serving.metric_catalog import (
    CLIPS,
    FRAMES,
    LIVENESS,
    LIVENESS_BUCKETS,
    NOT_SCORED,
    QUALITY,
    QUALITY_FLAGS,
    SCORED,
    STATUS_ORDER,
    STATUS_WORDS,
    word,
)
from eulernet_serving.stages.stage_metrics import Count, StageMetrics


def is_counted(request: Any) -> bool:
    """Whether the request shows a caller's pictures: a health probe does not, and neither does a stream's bare end."""
    return request.request_id() not in UNCOUNTED_REQUEST_IDS


def gravest(status: Status) -> str:
    """The one flag under which a frame counts, in words."""
    return word(next((flag for flag in STATUS_ORDER if status & flag), Status.OK))


def clip_is_scored(statuses: Sequence[int]) -> bool:
    """Whether a clip has a verdict: a restart of the filter at its first frame loses nothing, a later one does."""
    flags = [Status(status) for status in statuses]
    return all(each.usable for each in flags) and not any(each.restarted for each in flags[1:])


class FrameMetrics:
    """Frames of one ensemble by STATUS, for one thread.

    Args:
        metrics: of the stage that counts.
        model: the ensemble that callers call.
    """

    def __init__(self, metrics: StageMetrics, model: str) -> None:
        self._by_status = {each: metrics.count(FRAMES, model=model, status=each) for each in STATUS_WORDS}
        self._quality = {flag: metrics.count(QUALITY, model=model, flag=word(flag)) for flag in QUALITY_FLAGS}
        self._of: dict[int, tuple[Count, ...]] = {}  # a frame with this STATUS counts here

    def add(self, statuses: Sequence[int]) -> None:
        """Counts frames."""
        for status in statuses:
            counts = self._of.get(status)
            if counts is None:
                counts = self._of[status] = self._counts(Status(status))
            for each in counts:
                each.total += 1

    def _counts(self, status: Status) -> tuple[Count, ...]:
        quality = [count for flag, count in self._quality.items() if status.usable and status & flag]
        return (self._by_status[gravest(status)], *quality)


class ClipMetrics:
    """Clips and their frames, for one thread."""

    def __init__(self, metrics: StageMetrics) -> None:
        self._frames = FrameMetrics(metrics, CLIP_MODEL)
        self._scored, self._not_scored = (metrics.count(CLIPS, outcome=each) for each in (SCORED, NOT_SCORED))

    def add(self, statuses: Sequence[int]) -> bool:
        """Counts one clip. Returns: whether it has a verdict."""
        self._frames.add(statuses)
        scored = clip_is_scored(statuses)
        (self._scored if scored else self._not_scored).total += 1
        return scored


class LivenessMetrics:
    """The histogram of an ensemble's scores, for one thread."""

    def __init__(self, metrics: StageMetrics, model: str) -> None:
        self._scores = metrics.scores(LIVENESS, LIVENESS_BUCKETS, model=model)

    def add(self, liveness: float) -> None:
        """Takes one score."""
        self._scores.values.append(liveness)
