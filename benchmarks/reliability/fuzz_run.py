# SPDX-License-Identifier: Apache-2.0
"""Sends seeded inputs to the real server from several workers, and saves those that misbehave."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.pages import say
from benchmarks.reliability.attempts import Attempt, attempt
from benchmarks.reliability.neighbours import Neighbours
from benchmarks.reliability.supervised_server import SupervisedServer
from benchmarks.reliability.wire import Endpoints, Outcome, Wire

WORKERS = 4
LOOK_S = 0.5  # from one look at the processes to the next
SUSPECTS = 24  # latest inputs that are saved when a process dies
MOST_SAVED = 100
SETTLE_S = 3.0
PROGRESS_EVERY = 500
REFUSED_PAUSE_S = 0.5


@dataclass(frozen=True)
class Misbehaviour:
    """An input and what the server did wrong."""

    number: int
    family: str
    kind: str
    fault: str


@dataclass
class Sent:
    """What was sent and what came back. `slowest_s`: of all inputs that are one request."""

    count: int = 0
    families: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    misbehaved: list[Misbehaviour] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest_kind: str = ""
    seconds: float = 0.0


class Fuzzer:
    """Sends inputs and keeps the account.

    Args:
        endpoints: ports of the server.
        seed: of all inputs.
        guided: pictures of the coverage-guided run.
        save: folder for inputs that misbehave.
        workers: requests in progress.
        judge: False where errors are expected: nothing is held to be wrong, and a refused worker pauses.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        seed: int,
        guided: Sequence[bytes],
        save: Path,
        workers: int = WORKERS,
        judge: bool = True,
    ) -> None:
        self._endpoints, self._seed, self._guided, self._save = endpoints, seed, guided, save
        self._workers, self._judge = workers, judge
        self.sent = Sent()
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._latest: deque[Attempt] = deque(maxlen=SUSPECTS)

    def run(self, numbers: Iterable[int], limit_s: float) -> Sent:
        """Sends these inputs, or as many as the time allows."""
        begun_s = time.monotonic()
        waiting = iter(numbers)
        workers = [threading.Thread(target=self._work, args=(waiting, begun_s + limit_s)) for _ in range(self._workers)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        self.sent.seconds = time.monotonic() - begun_s
        return self.sent

    def _work(self, waiting: Iterator[int], end_s: float) -> None:
        with Wire(self._endpoints) as wire:
            while not self.stopped.is_set() and time.monotonic() < end_s:
                with self._lock:
                    number = next(waiting, None)
                if number is None:
                    return
                made = attempt(self._seed, number, self._guided)
                self._latest.append(made)
                begun_s = time.monotonic()
                try:
                    outcome = made.send(wire)
                except Exception as error:
                    outcome = Outcome("error of the fuzzer", f"{type(error).__name__}: {error}")
                if not self._judge:
                    self.stopped.wait(REFUSED_PAUSE_S if outcome.fault else 0)
                    outcome = Outcome(outcome.label)
                self._account(made, outcome, time.monotonic() - begun_s)

    def _account(self, made: Attempt, outcome: Outcome, seconds: float) -> None:
        with self._lock:
            sent = self.sent
            sent.count += 1
            sent.families[made.family] += 1
            sent.outcomes[f"{made.family}: {outcome.label}"] += 1
            if made.family in ("jpeg", "protocol") and seconds > sent.slowest_s:
                sent.slowest_s, sent.slowest_kind = seconds, made.kind
            if outcome.fault is not None:
                sent.misbehaved.append(Misbehaviour(made.number, made.family, made.kind, outcome.fault))
                self._saved(made, outcome.fault)
            if sent.count % PROGRESS_EVERY == 0:
                say(f"{sent.count} inputs, {len(sent.misbehaved)} misbehaved")

    def save_suspects(self, reason: str) -> None:
        """Saves the latest inputs: one of them may have been the cause."""
        for each in list(self._latest):
            self._saved(each, reason)

    def _saved(self, made: Attempt, reason: str) -> None:
        self._save.mkdir(parents=True, exist_ok=True)
        if len(list(self._save.iterdir())) >= 2 * MOST_SAVED:
            return
        (self._save / f"{made.number}.bin").write_bytes(made.payload)
        (self._save / f"{made.number}.txt").write_text(
            f"{made.family}: {made.kind}\n{reason}\n"
            f"python -m benchmarks.reliability fuzz --seed {self._seed} --only {made.number}\n"
        )


@dataclass(frozen=True)
class Settings:
    """`inputs`, `seed`: what is sent; `limit_s`: at most for so long; `quiet_s`: good callers alone, before."""

    inputs: int
    seed: int
    limit_s: float
    quiet_s: float


def fuzz(
    server: SupervisedServer,
    settings: Settings,
    guided: Sequence[bytes],
    out: Path,
    numbers: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Good callers alone, then beside the inputs. Returns what was seen, for JSON.

    Args:
        numbers: inputs to send in place of all.
    """
    fuzzer = Fuzzer(server.endpoints, settings.seed, guided, out / "misbehaved")
    before = server.pids()
    crashes: list[str] = []
    with Neighbours(server.endpoints.url, out / "neighbours.jsonl", retry=False) as good:
        begun_s = time.monotonic()
        say(f"good callers alone for {settings.quiet_s:g} s")
        time.sleep(settings.quiet_s)
        attack_s = time.monotonic()
        with _watched(server, before, crashes, fuzzer):
            sent = fuzzer.run(range(settings.inputs) if numbers is None else numbers, settings.limit_s)
        time.sleep(SETTLE_S)
        answers = server.ready()
        changed = {name: pid for name, pid in server.pids().items() if before.get(name) != pid}
    end_s = time.monotonic()
    return {
        "sent": {**vars(sent), "misbehaved": [asdict(each) for each in sent.misbehaved]},
        "crashes": crashes or [f"{name} has another process now" for name in changed],
        "ready": answers,
        "bad_lines": server.bad_lines(),
        "hangs": sum(each.fault.startswith("no answer") for each in sent.misbehaved),
        "neighbours": neighbour_figures(good, {"quiet": (begun_s, attack_s), "attack": (attack_s, end_s)}),
    }


def _watched(server: SupervisedServer, before: dict[str, int], crashes: list[str], fuzzer: Fuzzer) -> _Watch:
    def look() -> bool:
        now = server.pids()
        gone = [name for name, pid in before.items() if now.get(name) != pid]
        if gone:
            crashes.extend(f"{name} died" for name in gone)
            fuzzer.save_suspects(f"{', '.join(gone)} died at about this input")
            fuzzer.stopped.set()
        return not gone

    return _Watch(look)


class _Watch:
    """Calls `look` again and again until it says no, or the block ends."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look, self._ended = look, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while self._look() and not self._ended.wait(LOOK_S):
            pass


def neighbour_figures(good: Neighbours, phases: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Calls, outcomes and latencies of the good callers by phase and way."""
    import numpy as np

    records = good.records()
    figures: dict[str, Any] = {}
    for phase, (first_s, last_s) in phases.items():
        for way in ("clip", "frame"):
            found = [each for each in records if each.way == way and first_s <= each.begun_s < last_s]
            latencies_ms = [1000 * each.latency_s for each in found] or [0.0]
            p50, p99 = np.percentile(latencies_ms, [50, 99])
            figures[f"{phase} {way}"] = {
                "calls": len(found),
                "outcomes": dict(Counter(each.outcome for each in found)),
                "p50_ms": round(float(p50), 1),
                "p99_ms": round(float(p99), 1),
                "details": [each.detail for each in itertools.islice((e for e in found if e.detail), 10)],
            }
    return figures
