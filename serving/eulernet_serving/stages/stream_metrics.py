# SPDX-License-Identifier: Apache-2.0
"""Counts the streams of a stage with state: open, admitted, refused, lost."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from eulernet_serving.metric_catalog import (
    CALLER_FULL,
    DRAINING,
    NO_STATE,
    OLDEST_STREAM,
    OPEN_SEQUENCES,
    OPEN_STREAMS,
    SERVER_FULL,
    STREAMS,
    STREAMS_LOST,
    STREAMS_REFUSED,
)
from eulernet_serving.sequence_store import CorrelationId, SequenceStore
from eulernet_serving.stages.stage_metrics import StageMetrics

REMEMBERED = 1024  # further frames of a lost or a refused stream are no further loss


class StreamMetrics:
    """The streams of one instance of a stage, for one thread.

    Args:
        metrics: of the stage.
        model: the stage's name.
        states: its store.
        instance: name of the model's instance, where the stage admits streams; else "": it shows its sequences only.
    """

    def __init__(self, metrics: StageMetrics, model: str, states: SequenceStore[Any], instance: str = "") -> None:
        metrics.level(OPEN_SEQUENCES, lambda: len(states), model=model)
        self._lost = metrics.count(STREAMS_LOST, reason=NO_STATE)
        self._gone: OrderedDict[CorrelationId, None] = OrderedDict()
        reasons = (DRAINING, SERVER_FULL, CALLER_FULL)
        self._refused = {each: metrics.count(STREAMS_REFUSED, reason=each) for each in reasons}
        self._admitted = None
        if instance:
            self._admitted = metrics.count(STREAMS)
            metrics.level(OPEN_STREAMS, lambda: len(states))
            metrics.level(OLDEST_STREAM, states.oldest_age_s, shared=False, model_instance=instance)

    def admitted(self, correlation_id: CorrelationId) -> None:
        """A stream's first frame was answered."""
        self._gone.pop(correlation_id, None)
        if self._admitted is not None:
            self._admitted.total += 1

    def refused(self, reason: str, correlation_id: CorrelationId) -> None:
        """A stream was refused."""
        self._refused[reason].total += 1
        self._remember(correlation_id)

    def lost(self, correlation_id: CorrelationId) -> None:
        """A frame continues a stream that has no state here."""
        if correlation_id not in self._gone:
            self._lost.total += 1
        self._remember(correlation_id)

    def _remember(self, correlation_id: CorrelationId) -> None:
        self._gone[correlation_id] = None
        self._gone.move_to_end(correlation_id)
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
