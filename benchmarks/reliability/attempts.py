# SPDX-License-Identifier: Apache-2.0
"""The inputs of a fuzz run: input N of a seed is the same in each run, whichever worker sends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.reliability.connection_abuse import abuse_connection
from benchmarks.reliability.jpeg_mutations import base_pictures, blind, structured
from benchmarks.reliability.request_mutations import mutated_request
from benchmarks.reliability.sequence_abuse import abuse_sequence
from benchmarks.reliability.wire import Outcome, Wire, clip_request, frame_request, judge_frames, judged, tensors
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.status import Status
from eulernet_core.tensors import FRAME_COUNT, STATUS


@dataclass(frozen=True)
class Attempt:
    """One input. `family`: jpeg, protocol, sequence or connection; `payload`: its bytes, to be saved."""

    number: int
    family: str
    kind: str
    payload: bytes
    send: Callable[[Wire], Outcome]


# Share of each family, up to 1.
_SHARES = (("jpeg", 0.70), ("protocol", 0.90), ("sequence", 0.96), ("connection", 1.0))


def attempt(seed: int, number: int, guided: Sequence[bytes] = ()) -> Attempt:
    """Input `number`. `guided`: pictures of a coverage-guided run, which become inputs too."""
    random = np.random.default_rng([seed, number])
    share = random.random()
    family = next(name for name, limit in _SHARES if share < limit)
    if family == "jpeg":
        return _jpeg(random, number, guided)
    if family == "protocol":
        made = mutated_request(random)
        return Attempt(number, family, made.kind, made.payload, made.send)
    if family == "sequence":
        kind, send = abuse_sequence(random)
        return Attempt(number, family, kind, b"", send)
    kind, send = abuse_connection(random)
    return Attempt(number, family, kind, b"", send)


def _jpeg(random: Generator, number: int, guided: Sequence[bytes]) -> Attempt:
    mutated = blind(random) if random.random() < 0.35 else structured(random, guided)
    way = random.choice(["clip", "stream", "inside"], p=[0.35, 0.55, 0.10])
    good = base_pictures()["baseline"]
    key = int(random.integers(1 << 40, 1 << 62))

    def send_clip(wire: Wire) -> Outcome:
        frames = [good if t == number % CLIP_FRAMES else mutated.jpeg for t in range(CLIP_FRAMES)]
        return judged(lambda: wire.infer(clip_request(frames)), may_fail=False, check=judge_frames)

    def send_frame(wire: Wire) -> Outcome:
        request = frame_request(mutated.jpeg, key, start=True, end=True)
        return judged(lambda: wire.infer(request), may_fail=False, check=judge_frames)

    def send_inside(wire: Wire) -> Outcome:
        return _between_good_frames(wire, good, mutated.jpeg, key)

    send = {"clip": send_clip, "stream": send_frame, "inside": send_inside}[str(way)]
    return Attempt(number, "jpeg", f"{way}: {mutated.kind}", mutated.jpeg, send)


def _between_good_frames(wire: Wire, good: bytes, bad: bytes, key: int) -> Outcome:
    """A bad frame between two good ones must leave the filter as it was."""
    found = []
    for t, frame in enumerate((good, bad, good)):
        answers: list[Any] = []
        send = partial(wire.infer, frame_request(frame, key, start=t == 0, end=t == 2))
        outcome = judged(send, may_fail=False, check=partial(_kept, answers))
        if outcome.fault is not None:
            return outcome
        found += answers
    counts = [int(each[FRAME_COUNT].item()) for each in found]
    first, middle, last = (Status(int(each[STATUS].item())) for each in found)
    scored = first.usable and last.usable and not last.restarted
    if scored and not middle.usable and counts != [1, 1, 2]:
        return Outcome(outcome.label, f"frame counts {counts} instead of [1, 1, 2]")
    return outcome


def _kept(answers: list[Any], response: Any) -> Outcome:
    answers.append(tensors(response))
    return judge_frames(response)
