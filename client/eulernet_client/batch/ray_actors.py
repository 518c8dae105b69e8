# SPDX-License-Identifier: Apache-2.0
"""Gives blocks of sources to the actors of a Ray cluster, and again to another actor when one dies.

An actor scores a few blocks at once. When it dies, each of their sources is under suspicion: it is scored again at the
end, alone with its actor. A source whose actors died MOST_DEATHS times is given up.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eulernet_client.batch.ray_worker import ArchiveWorker, Job
from eulernet_client.errors import RayClusterError

log = logging.getLogger("eulernet_client")

BLOCK_SOURCES = 8  # at most; a killed run repeats its blocks in flight
BLOCKS_AN_ACTOR = 16  # at least, so that the actors end at about the same time
CALLS = 2  # blocks in flight in an actor, so that it reads ahead from one block to the next
MOST_DEATHS = 3  # of actors that scored one source
MOST_FAILED_STARTS = 3  # of actors, one after the other
POLL_S = 0.5
NO_ACTOR_S = 60.0  # then a warning


@dataclass
class Block:
    """Sources that are scored by one call.

    Attributes:
        numbers: of the sources.
        deaths: of the actors that scored it.
    """

    numbers: list[int]
    deaths: int = 0


@dataclass
class Answer:
    """What became of a source: `scored` is the worker's object for it, None if its actors died; `host`: the node."""

    number: int
    host: str = ""
    scored: dict[str, Any] | None = None


@dataclass
class Stop:
    """A worker's error that ends the run: name of its type, text, node."""

    host: str
    kind: str
    text: str


@dataclass
class _Actor:
    """An actor's handle and the blocks in flight, by the reference of their call."""

    handle: Any
    blocks: dict[Any, Block] = field(default_factory=dict)


class ActorPool:
    """The actors of one run, each with one CPU.

    Args:
        ray: the module, connected.
        job: of one actor.
        size: most actors at once.
    """

    def __init__(self, ray: Any, job: Job, size: int) -> None:
        self._ray, self._job, self._size = ray, job, size
        self._kind = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=CALLS + 1)(ArchiveWorker)
        self._starting: dict[Any, _Actor] = {}
        self._actors: list[_Actor] = []
        self._failed_starts = 0
        self._blocks: deque[Block] = deque()
        self._suspects: deque[Block] = deque()

    def answers(self, sources: Mapping[int, Path], stopped: threading.Event) -> Iterator[Answer | Stop]:
        """Scores sources, each once, in any order.

        Args:
            sources: by number.
            stopped: ends the work soon after it is set.

        Raises:
            RayClusterError: no actor can start.
            ray.exceptions.RayError: Ray itself failed.
        """
        size = block_size(len(sources), self._size)
        numbers = list(sources)
        self._blocks.extend(Block(numbers[start : start + size]) for start in range(0, len(numbers), size))
        idle_since = time.monotonic()
        try:
            while not stopped.is_set() and (self._blocks or self._suspects or self._in_flight()):
                self._start_actors()
                self._give(sources)
                for reference in self._ended():
                    yield from self._finish(reference)
                if self._actors:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > NO_ACTOR_S:
                    log.warning("no Ray actor has started for %g s; see `ray status` for free CPUs", NO_ACTOR_S)
                    idle_since = time.monotonic()
        finally:
            for actor in (*self._starting.values(), *self._actors):
                self._kill(actor)

    def _ended(self) -> list[Any]:
        """References of the calls that have ended; waits for the first of them, up to POLL_S."""
        waiting = [*self._starting, *self._in_flight()]
        ended: list[Any]
        ended, _ = self._ray.wait(waiting, num_returns=1, timeout=POLL_S)
        if ended:  # all of them, or an actor at the end of the list would wait for its turn
            ended, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return ended

    def _in_flight(self) -> dict[Any, _Actor]:
        return {reference: actor for actor in self._actors for reference in actor.blocks}

    def _start_actors(self) -> None:
        """As many as have work. Ray keeps those waiting that the cluster has no CPU for, or adds nodes for them."""
        work = len(self._blocks) + len(self._suspects) + sum(bool(each.blocks) for each in self._actors)
        while len(self._starting) + len(self._actors) < min(self._size, work):
            actor = _Actor(self._kind.remote(self._job))
            self._starting[actor.handle.ready.remote()] = actor

    def _give(self, sources: Mapping[int, Path]) -> None:
        """Gives blocks to actors with room, in turn."""
        for room in range(CALLS):
            for actor in self._actors:
                if self._blocks and len(actor.blocks) == room:
                    self._call(actor, self._blocks.popleft(), sources)
        for actor in self._actors:
            if self._suspects and not self._blocks and not actor.blocks:
                self._call(actor, self._suspects.popleft(), sources)

    def _call(self, actor: _Actor, block: Block, sources: Mapping[int, Path]) -> None:
        paths = json.dumps([str(sources[number].absolute()) for number in block.numbers])
        actor.blocks[actor.handle.score.remote(paths)] = block

    def _finish(self, reference: Any) -> Iterator[Answer | Stop]:
        """Handles a call that has ended."""
        if reference in self._starting:
            self._started(reference)
            return
        actor = self._in_flight().get(reference)
        if actor is None:
            return  # its actor has died meanwhile
        try:
            found = json.loads(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            yield Stop("", type(error).__name__, str(error))
            return
        except self._ray.exceptions.RayError as error:
            yield from self._died(actor, error)
            return
        block = actor.blocks.pop(reference)
        if "stop" in found:
            yield Stop(found["host"], found["stop"]["type"], found["stop"]["text"])
            return
        for number, scored in zip(block.numbers, found["answers"], strict=True):
            yield Answer(number, found["host"], scored)

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                text = (str(error).strip() or repr(error)).splitlines()[-1]
                raise RayClusterError(
                    f"{self._failed_starts} Ray actors could not start: {text}; check that every node has this "
                    "version of eulernet"
                ) from error
            return
        self._failed_starts = 0
        self._actors.append(actor)

    def _died(self, actor: _Actor, error: Exception) -> Iterator[Answer]:
        """Takes back the blocks of a dead actor, and gives up the sources that were alone with it too often."""
        blocks = list(actor.blocks.values())
        log.warning("a Ray actor died, %d blocks are scored again: %s", len(blocks), str(error).splitlines()[0])
        self._actors.remove(actor)
        self._kill(actor)
        for block in blocks:
            if block.deaths + 1 >= MOST_DEATHS:
                yield from (Answer(number) for number in block.numbers)
            else:
                self._suspects.extend(Block([number], block.deaths + 1) for number in block.numbers)

    def _kill(self, actor: _Actor) -> None:
        with suppress(Exception):  # it is dead, or Ray is
            self._ray.kill(actor.handle)


def block_size(sources: int, actors: int) -> int:
    """Sources of a block: few, so that all actors have work until the end."""
    return max(1, min(BLOCK_SOURCES, math.ceil(sources / (actors * BLOCKS_AN_ACTOR))))
