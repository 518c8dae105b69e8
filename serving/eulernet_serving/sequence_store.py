# SPDX-License-Identifier: Apache-2.0
"""The states that a model keeps by sequence, bounded in number and in age.

Triton tells a Python model of a sequence's START and END, but not that its idle timeout has ended one: without bounds,
a store keyed by correlation id grows with every client that disappears.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import TTLCache

State = TypeVar("State")
CorrelationId = int | str


class SequenceLostError(Exception):
    """A frame continues a sequence that has no state here."""

    def __init__(self, correlation_id: CorrelationId) -> None:
        super().__init__(f"sequence {correlation_id}: no state; start it again from its first frame")


class SequenceStore(Generic[State]):
    """States by correlation id; the least recently used one is dropped first.

    Args:
        new: makes the state that a sequence starts with.
        max_sequences: the most states.
        max_idle_s: a state not used for so long is dropped.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        new: Callable[[], State],
        max_sequences: int,
        max_idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new = new
        self._states: TTLCache[CorrelationId, State] = TTLCache(max_sequences, max_idle_s, clock)

    def __len__(self) -> int:
        return len(self._states)

    def take(self, correlation_id: CorrelationId, start: bool) -> State:
        """The state before this frame: a new one at START, else what `put` left.

        Raises: SequenceLostError where there is nothing to continue.
        """
        kept = self._states.pop(correlation_id, None)
        if start:
            return self._new()
        if kept is None:
            raise SequenceLostError(correlation_id)
        return kept

    def put(self, correlation_id: CorrelationId, state: State, end: bool) -> None:
        """Keeps the state after this frame, unless the sequence ended with it."""
        if not end:
            self._states[correlation_id] = state
