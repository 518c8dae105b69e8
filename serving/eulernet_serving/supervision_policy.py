# SPDX-License-Identifier: Apache-2.0
"""What the supervisor does next, decided from what it sees and the time alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
QUIET_S = 2.0  # so long must nothing be open and nothing wait: the stages tell their open streams once a second


class Phase(Enum):
    """What the server is doing."""

    STARTING = "starting"
    SERVING = "serving"
    WAITING = "waiting to be started again"
    DRAINING = "draining"


class Action(Enum):
    """What the supervisor has to do."""

    NOTHING = "nothing"
    START = "start"
    KILL = "kill"
    DRAIN = "drain"
    STOP = "stop"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Limits:
    """The supervisor's patience.

    Attributes:
        max_restarts: gives up at the next failure after so many restarts.
        healthy_s: seconds of readiness after which earlier restarts are forgotten.
        ready_timeout_s: seconds for a start.
        stall_timeout_s: seconds without an inference in some stage, probes included, that are a stall.
        drain_timeout_s: seconds for the open streams to end; 0 stops at once.
        drain_min_s: seconds that a drain takes at least, for a balancer to see it.
    """

    max_restarts: int = 5
    healthy_s: float = 300.0
    ready_timeout_s: float = 120.0
    stall_timeout_s: float = 60.0
    drain_timeout_s: float = 20.0
    drain_min_s: float = 0.0


@dataclass(frozen=True)
class Observation:
    """One look at the server.

    Attributes:
        failed: reason why it can't go on, such as "died"; None while it can.
        ready: both ways answer.
        silent_s: seconds for which some stage has not inferred although it was asked.
        idle: no stream is open and no request waits.
        stop_signals: signals so far that ask to stop.
    """

    failed: str | None = None
    ready: bool = False
    silent_s: float = 0.0
    idle: bool = False
    stop_signals: int = 0


class SupervisionPolicy:
    """Decides for a server that has just got ready."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.limits, self.phase = limits, Phase.SERVING
        self.restarts = 0  # those that are not forgotten yet
        self.reason = ""  # of the last failure
        self.due_s = now_s  # when the phase's next step is due
        self._healthy_since_s: float | None = now_s
        self._begun_s = now_s
        self._idle_since_s: float | None = None

    def decide(self, seen: Observation, now_s: float) -> Action:
        """The next action; the caller carries it out before it asks again."""
        if seen.stop_signals:
            return self._stopping(seen, now_s)
        if self.phase is Phase.WAITING:
            if now_s < self.due_s:
                return Action.NOTHING
            self._enter(Phase.STARTING, now_s, self.limits.ready_timeout_s)
            return Action.START
        reason = self._failure(seen, now_s)
        if reason is not None:
            return self._failed(reason, now_s)
        if self.phase is Phase.STARTING and seen.ready:
            self._enter(Phase.SERVING, now_s, 0)
        self._count_health(seen, now_s)
        return Action.NOTHING

    def _failure(self, seen: Observation, now_s: float) -> str | None:
        if seen.failed is not None:
            return seen.failed
        if self.phase is Phase.STARTING:
            return "not ready in time" if now_s >= self.due_s and not seen.ready else None
        return "stalled" if seen.silent_s >= self.limits.stall_timeout_s else None

    def _failed(self, reason: str, now_s: float) -> Action:
        self.reason = reason
        if self.restarts >= self.limits.max_restarts:
            return Action.GIVE_UP
        self.restarts += 1
        self._healthy_since_s = None
        self._enter(Phase.WAITING, now_s, min(FIRST_BACKOFF_S * 2 ** (self.restarts - 1), LONGEST_BACKOFF_S))
        return Action.KILL

    def _count_health(self, seen: Observation, now_s: float) -> None:
        if self.phase is not Phase.SERVING or not seen.ready:
            self._healthy_since_s = None
        elif self._healthy_since_s is None:
            self._healthy_since_s = now_s
        elif now_s - self._healthy_since_s >= self.limits.healthy_s:
            self.restarts = 0

    def _stopping(self, seen: Observation, now_s: float) -> Action:
        if self.phase is Phase.SERVING and seen.stop_signals == 1 and self.limits.drain_timeout_s > 0:
            self._enter(Phase.DRAINING, now_s, self.limits.drain_timeout_s)
            return Action.DRAIN
        if self.phase is not Phase.DRAINING or seen.stop_signals > 1 or seen.failed is not None:
            return Action.STOP
        self._idle_since_s = (self._idle_since_s or now_s) if seen.idle else None
        quiet = self._idle_since_s is not None and now_s - self._idle_since_s >= QUIET_S
        over = quiet and now_s - self._begun_s >= self.limits.drain_min_s
        return Action.STOP if over or now_s >= self.due_s else Action.NOTHING

    def _enter(self, phase: Phase, now_s: float, due_in_s: float) -> None:
        self.phase, self._begun_s, self.due_s = phase, now_s, now_s + due_in_s
