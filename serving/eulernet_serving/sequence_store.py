# SPDX-License-Identifier: Apache-2.0
"""The states that a model keeps by sequence, bounded in number, in age, and for each caller.

Triton tells a Python model of a sequence's START and END, but not that its idle timeout has ended one: without bounds,
a store keyed by correlation id grows with every client that disappears. A sequence takes one of the bounded places
only while it has a state. One that never had a usable frame is remembered by its id alone.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

State = TypeVar("State")
CorrelationId = int | str
HOLDS_S = 2.0  # a sequence without a state counts for its caller so long after its last frame
MOST_REMEMBERED = 131_072  # ids of sequences without a state; the oldest is forgotten first


class SequenceLostError(Exception):
    """A frame continues a sequence that has no state here."""

    def __init__(self, correlation_id: CorrelationId) -> None:
        super().__init__(f"sequence {correlation_id}: no state; start it again from its first frame")


class TooManySequencesError(Exception):
    """A sequence without a state, where the model or its caller has as many as it may have.

    `of_caller`: whether it is the caller who has.
    """

    def __init__(self, message: str, *, of_caller: bool) -> None:
        super().__init__(message)
        self.of_caller = of_caller


@dataclass(frozen=True)
class StoreLimits:
    """Bounds of a store.

    Attributes:
        max_sequences: the most sequences with a state.
        max_sequences_per_caller: the most sequences of a caller that is named; 0: no limit.
        max_idle_s: a sequence not used for so long is forgotten.
    """

    max_sequences: int
    max_sequences_per_caller: int
    max_idle_s: float


@dataclass(frozen=True)
class _Sequence(Generic[State]):
    """`state` is None while the sequence has none."""

    state: State | None
    caller: str
    begun_s: float
    used_s: float


class SequenceStore(Generic[State]):
    """States by correlation id. Its methods may be called by several threads.

    Args:
        new: makes the state that a sequence starts with.
        limits: of the number and the age of the sequences.
        clock: seconds, monotonic.
    """

    def __init__(
        self, new: Callable[[], State], limits: StoreLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._new, self._limits, self._clock = new, limits, clock
        self._lock = threading.Lock()
        # Each in the order of the last use.
        self._with_state: OrderedDict[CorrelationId, _Sequence[State]] = OrderedDict()
        self._holding: OrderedDict[CorrelationId, _Sequence[State]] = OrderedDict()
        self._remembered: OrderedDict[CorrelationId, _Sequence[State]] = OrderedDict()
        self._of_caller: Counter[str] = Counter()

    def __len__(self) -> int:
        """Open sequences: those with a state, and those without one whose last frame is at most HOLDS_S old."""
        with self._lock:
            self._expire()
            return len(self._with_state) + len(self._holding)

    def oldest_age_s(self) -> float:
        """Seconds since the first frame of the oldest open sequence; 0 without one."""
        with self._lock:
            self._expire()
            begun_s = [each.begun_s for kept in (self._with_state, self._holding) for each in kept.values()]
            return self._clock() - min(begun_s) if begun_s else 0.0

    def take(self, correlation_id: CorrelationId, start: bool, caller: str = "") -> State:
        """The state before this frame: a new one at START, else what `put` left. The store stays as it is.

        Raises:
            SequenceLostError: there is nothing to continue.
            TooManySequencesError: the sequence has no state yet and there is no place for one.
        """
        with self._lock:
            self._expire()
            known = self._find(correlation_id)
            if known is None and not start:
                raise SequenceLostError(correlation_id)
            # Also a sequence that goes on: at its first usable frame it takes a place.
            self._admit(correlation_id, known, caller if known is None or start else known.caller)
            return self._new() if known is None or start or known.state is None else known.state

    def put(self, correlation_id: CorrelationId, state: State | None, start: bool, end: bool, caller: str = "") -> None:
        """Keeps the state after this frame, unless the sequence ended with it; None: it has none yet."""
        with self._lock:
            known = self._remove(correlation_id)
            if end:
                return
            begun_s = now_s = self._clock()
            if known is not None and not start:
                caller, begun_s = known.caller, known.begun_s
            self._insert(correlation_id, _Sequence(state, caller, begun_s, now_s))

    def _admit(self, correlation_id: CorrelationId, known: _Sequence[State] | None, caller: str) -> None:
        most, most_of_caller = self._limits.max_sequences, self._limits.max_sequences_per_caller
        if (known is None or known.state is None) and len(self._with_state) >= most:
            raise TooManySequencesError(
                f"{most} streams are open, the most of this server; try another one, or later", of_caller=False
            )
        counted = known is not None and known.caller == caller and correlation_id not in self._remembered
        if caller and most_of_caller and self._of_caller[caller] - counted >= most_of_caller:
            raise TooManySequencesError(
                f"{most_of_caller} streams are open, the most of one caller; end some first", of_caller=True
            )

    def _find(self, correlation_id: CorrelationId) -> _Sequence[State] | None:
        for kept in (self._with_state, self._holding, self._remembered):
            if correlation_id in kept:
                return kept[correlation_id]
        return None

    def _remove(self, correlation_id: CorrelationId) -> _Sequence[State] | None:
        for kept in (self._with_state, self._holding, self._remembered):
            found = kept.pop(correlation_id, None)
            if found is not None:
                if kept is not self._remembered:
                    self._count(found.caller, -1)
                return found
        return None

    def _insert(self, correlation_id: CorrelationId, sequence: _Sequence[State]) -> None:
        (self._holding if sequence.state is None else self._with_state)[correlation_id] = sequence
        self._count(sequence.caller, 1)

    def _count(self, caller: str, change: int) -> None:
        if caller:
            self._of_caller[caller] += change
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    def _expire(self) -> None:
        now_s, idle_s = self._clock(), self._limits.max_idle_s
        for _, gone in _older(self._with_state, now_s - idle_s):
            self._count(gone.caller, -1)
        for correlation_id, held in _older(self._holding, now_s - min(HOLDS_S, idle_s)):
            self._count(held.caller, -1)
            self._remembered[correlation_id] = replace(held, state=None)
        for _ in _older(self._remembered, now_s - idle_s):
            pass
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _older(
    kept: OrderedDict[CorrelationId, _Sequence[State]], limit_s: float
) -> list[tuple[CorrelationId, _Sequence[State]]]:
    """Takes out the sequences used last before `limit_s`."""
    taken = []
    while kept and next(iter(kept.values())).used_s < limit_s:
        taken.append(kept.popitem(last=False))
    return taken
