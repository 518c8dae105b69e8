# SPDX-License-Identifier: Apache-2.0
"""Streams that break their order, never end, share an id, or come in hundreds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.random import Generator

from benchmarks.reliability.jpeg_mutations import base_pictures, blind
from benchmarks.reliability.wire import Outcome, SequenceId, Wire, frame_request, judge_frames, judged
from eulernet_core.limits import LONGEST_SEQUENCE_ID, MAX_STREAMS_PER_CALLER

GARBAGE_STREAMS = 60  # of one input, each of one byte and never ended
LONG_STREAM_FRAMES = 25
RARE = 1 / 60  # share of the inputs that fill a caller's places: each sends some hundred frames
PARALLEL = 4
Abuse = tuple[str, Callable[[Wire], Outcome]]


def abuse_sequence(random: Generator) -> Abuse:
    """A name, and what to do."""
    if random.random() < RARE:
        return _over_the_limit(random)
    ways = (_any_order, _any_order, _odd_ids, _garbage_streams, _never_ended, _shared_id)
    return ways[random.integers(len(ways))](random)


def _key(random: Generator) -> int:
    return int(random.integers(1 << 40, 1 << 62))


def _frame(random: Generator) -> bytes:
    return base_pictures()["baseline"] if random.random() < 0.4 else blind(random).jpeg


def _send_all(wire: Wire, requests: Sequence[Any], *, may_fail: bool, caller: str | None = None) -> Outcome:
    """One after the other. The first fault, else the last outcome."""
    outcome = Outcome("nothing sent")
    for request in requests:
        outcome = judged(
            lambda request=request: wire.infer(request, caller=caller),  # type: ignore[misc]
            may_fail=may_fail,
            check=judge_frames,
        )
        if outcome.fault is not None:
            break
    return outcome


def _any_order(random: Generator) -> Abuse:
    """START and END in any order, also both, neither and twice; frames of several streams mixed."""
    keys: list[SequenceId] = [_key(random), _key(random), f"stream-{_key(random)}"]
    requests = [
        frame_request(
            _frame(random), keys[random.integers(3)], start=bool(random.random() < 0.4), end=bool(random.random() < 0.3)
        )
        for _ in range(random.integers(1, 9))
    ]
    return "START and END in any order", lambda wire: _send_all(wire, requests, may_fail=True)


def _odd_ids(random: Generator) -> Abuse:
    longest = "x" * LONGEST_SEQUENCE_ID
    ids: tuple[SequenceId, ...] = (0, -1, 1, 2**63 - 1, 2**63, 2**64 - 1, "", " ", "0", longest, f"{longest}x", "é\0😀")
    key = ids[random.integers(len(ids))]
    requests = [frame_request(_frame(random), key, start=t == 0, end=t == 2) for t in range(3)]
    return f"id {str(key)[:20]!r}", lambda wire: _send_all(wire, requests, may_fail=True)


def _garbage_streams(random: Generator) -> Abuse:
    """Many streams of one byte that are never ended; none may be refused, for none gets a place."""
    keys = [_key(random) for _ in range(GARBAGE_STREAMS)]

    def send(wire: Wire) -> Outcome:
        requests = [frame_request(b"\0", key, start=True) for key in keys]
        with ThreadPoolExecutor(PARALLEL) as pool:
            found = list(pool.map(lambda part: _send_all(wire, part, may_fail=False), _parts(requests)))
        return next((each for each in found if each.fault is not None), found[0])

    return "garbage streams, never ended", send


def _parts(requests: Sequence[Any]) -> list[Sequence[Any]]:
    return [requests[k::PARALLEL] for k in range(PARALLEL)]


def _never_ended(random: Generator) -> Abuse:
    key, frames = _key(random), [_frame(random) for _ in range(LONG_STREAM_FRAMES)]
    requests = [frame_request(frame, key, start=t == 0) for t, frame in enumerate(frames)]
    return "a stream that is never ended", lambda wire: _send_all(wire, requests, may_fail=False)


def _shared_id(random: Generator) -> Abuse:
    """Two senders at once with one id."""
    key = _key(random)
    one = [frame_request(_frame(random), key, start=t == 0, end=t == 4) for t in range(5)]
    other = [frame_request(_frame(random), key, start=t == 2, end=t == 3) for t in range(5)]

    def send(wire: Wire) -> Outcome:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda part: _send_all(wire, part, may_fail=True), (one, other)))
        return next((each for each in found if each.fault is not None), found[0])

    return "two senders, one id", send


def _over_the_limit(random: Generator) -> Abuse:
    """A named caller opens more streams than it may, with a face in each, and ends them again."""
    frame, caller = base_pictures()["baseline"], f"fuzz-{_key(random)}"
    keys = [_key(random) for _ in range(MAX_STREAMS_PER_CALLER + 20)]

    def send(wire: Wire) -> Outcome:
        opened = [frame_request(frame, key, start=True) for key in keys]
        ended = [frame_request(b"", key, end=True) for key in keys]
        with ThreadPoolExecutor(PARALLEL) as pool:
            found = list(pool.map(lambda each: _send_all(wire, [each], may_fail=True, caller=caller), opened))
            list(pool.map(lambda each: _send_all(wire, [each], may_fail=True, caller=caller), ended))
        refused = sum(each.label == "UNAVAILABLE" for each in found)
        fault = next((each.fault for each in found if each.fault is not None), None)
        if fault is None and not refused:
            fault = f"{len(keys)} streams of one caller, none refused"
        return Outcome("caller over its limit", fault)

    return "a caller over its limit", send
