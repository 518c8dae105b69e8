# SPDX-License-Identifier: Apache-2.0
"""The store of sequences: what it keeps, what it refuses, and what one caller can take from another."""

import pytest

from eulernet_serving.sequence_store import (
    HOLDS_S,
    MOST_REMEMBERED,
    SequenceLostError,
    SequenceStore,
    StoreLimits,
    TooManySequencesError,
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, most: int = 10, of_caller: int = 0, idle_s: float = 60) -> SequenceStore[int]:
    return SequenceStore(lambda: 0, StoreLimits(most, of_caller, idle_s), clock)


def begin(store: SequenceStore[int], key: int | str, state: int | None = 1, caller: str = "") -> None:
    store.take(key, True, caller)
    store.put(key, state, True, False, caller)


def test_keeps_the_state_between_start_and_end(clock: Clock) -> None:
    store = make(clock)
    assert store.take(1, start=True) == 0
    store.put(1, 5, start=True, end=False)
    assert store.take(1, start=False) == 5
    store.put(1, 6, start=False, end=True)
    assert len(store) == 0
    with pytest.raises(SequenceLostError):
        store.take(1, start=False)


def test_a_frame_that_fails_leaves_the_state(clock: Clock) -> None:
    store = make(clock)
    begin(store, 1, 5)
    assert store.take(1, start=False) == 5
    assert store.take(1, start=False) == 5
    assert store.take(1, start=True) == 0
    assert store.take(1, start=False) == 5


def test_a_reused_id_starts_over(clock: Clock) -> None:
    store = make(clock, most=1)
    begin(store, "a", 5)
    begin(store, "a", 6)
    assert (store.take("a", start=False), len(store)) == (6, 1)


def test_no_sequence_takes_another_one_s_place(clock: Clock) -> None:
    store = make(clock, most=3)
    for key in range(3):
        begin(store, key, key + 10)
    with pytest.raises(TooManySequencesError):
        store.take(3, start=True)
    assert [store.take(key, start=False) for key in range(3)] == [10, 11, 12]
    store.put(1, 0, start=False, end=True)
    begin(store, 3)


def test_sequences_without_a_state_take_no_place(clock: Clock) -> None:
    store = make(clock, most=2)
    for key in range(100):
        begin(store, key, None)
    begin(store, 100)
    assert len(store) == 101
    clock.now_s = HOLDS_S + 0.1
    assert len(store) == 1
    # They go on where they have a usable frame at last.
    assert store.take(50, start=False) == 0
    store.put(50, 7, start=False, end=False)
    assert store.take(50, start=False) == 7
    with pytest.raises(TooManySequencesError):
        store.take(200, start=True)


def test_the_number_of_remembered_ids_is_bounded(clock: Clock) -> None:
    store = make(clock)
    for key in range(MOST_REMEMBERED + 10):
        store.put(key, None, start=True, end=False)
    clock.now_s = HOLDS_S + 0.1
    assert len(store) == 0
    with pytest.raises(SequenceLostError):
        store.take(0, start=False)
    assert store.take(MOST_REMEMBERED, start=False) == 0


def test_idle_sequences_are_forgotten_and_every_use_counts(clock: Clock) -> None:
    store = make(clock)
    begin(store, 1, 4)
    begin(store, 2, None)
    clock.now_s = 59
    store.put(1, store.take(1, start=False), start=False, end=False)
    clock.now_s = 61
    with pytest.raises(SequenceLostError):
        store.take(2, start=False)
    clock.now_s = 118
    assert store.take(1, start=False) == 4
    clock.now_s = 120
    assert len(store) == 0


def test_a_caller_is_limited_and_others_are_not(clock: Clock) -> None:
    store = make(clock, most=10, of_caller=2)
    begin(store, 1, 1, "a")
    begin(store, 2, None, "a")
    with pytest.raises(TooManySequencesError):
        store.take(3, True, "a")
    begin(store, 4, 1, "b")
    begin(store, 5)  # nobody named: no limit
    # What is over frees the caller's place: an END, garbage after a moment, an idle stream.
    store.put(1, 1, start=False, end=True)
    begin(store, 6, 1, "a")
    clock.now_s = HOLDS_S + 0.1
    begin(store, 7, 1, "a")
    with pytest.raises(TooManySequencesError):
        store.take(8, True, "a")
    clock.now_s = 70
    begin(store, 8, 1, "a")
    begin(store, 9, 1, "a")


def test_the_caller_of_a_stream_is_the_one_that_began_it(clock: Clock) -> None:
    store = make(clock, of_caller=1)
    begin(store, 1, 1, "a")
    for _ in range(3):
        store.put(1, 1, start=False, end=False)
    with pytest.raises(TooManySequencesError):
        store.take(2, True, "a")
    begin(store, 1, 1, "b")  # a reused id ends the older sequence
    begin(store, 2, 1, "a")


def test_sequences_that_began_without_a_state_do_not_pass_the_limits(clock: Clock) -> None:
    """Opened in any number, each needs a place when its first usable frame comes, late or with another START."""
    store = make(clock, most=2, of_caller=1)
    for key in range(5):
        begin(store, key, None)
    begin(store, 10, None, "a")
    clock.now_s = HOLDS_S + 0.1
    begin(store, 11, 1, "a")
    for start in (False, True):
        with pytest.raises(TooManySequencesError):
            store.take(10, start, "a")
    begin(store, 0)
    for start in (False, True):
        with pytest.raises(TooManySequencesError):
            store.take(1, start)
    assert store.take(0, start=False) == 1
