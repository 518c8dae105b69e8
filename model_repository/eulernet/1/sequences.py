"""What a model keeps for each sequence, bounded in number and in age.

Triton tells a Python model of a sequence's START and END, but not when its own idle timeout has ended one: without a
bound of its own, a store keyed by correlation id grows with every client that goes away.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import TTLCache

State = TypeVar("State")
CorrelationId = int | str


class SequenceLostError(Exception):
    """A frame continues a sequence whose state is no longer (or was never) here."""

    def __init__(self, correlation_id: CorrelationId) -> None:
        super().__init__(f"sequence {correlation_id}: no state is kept for it; start it again from its first frame")


class SequenceStore(Generic[State]):
    """States by correlation id; the one not used for longest goes first.

    Args:
        new: makes the state that a sequence starts with.
        max_sequences: more are never kept.
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
