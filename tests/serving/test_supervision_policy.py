# SPDX-License-Identifier: Apache-2.0
"""The supervisor's decisions, without a server: restarts, backoff, giving up, drains, overload and stalls."""

import re
from pathlib import Path

import pytest

import eulernet_serving
from eulernet_serving.inference_probe import Answer
from eulernet_serving.supervision_policy import (
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    QUIET_S,
    Action,
    Limits,
    Observation,
    Phase,
    SupervisionPolicy,
)
from eulernet_serving.triton_metrics import Readings
from eulernet_serving.way_health import ProbeRound, WayHealth

WELL, DEAD = Observation(ready=True), Observation(failed="died")


def failed(policy, now_s):
    """Lets the server die and be started again. Returns: when it is started, ready or not."""
    assert policy.decide(DEAD, now_s) is Action.KILL
    while policy.decide(Observation(), now_s) is Action.NOTHING:
        now_s += 0.1
    assert policy.phase is Phase.STARTING
    return now_s


def test_a_death_is_followed_by_a_start_and_service():
    policy = SupervisionPolicy(Limits(), 0)
    assert policy.decide(WELL, 1) is Action.NOTHING
    assert policy.decide(DEAD, 2) is Action.KILL
    assert (policy.phase, policy.reason, policy.restarts) == (Phase.WAITING, "died", 1)
    assert policy.decide(Observation(), 2 + FIRST_BACKOFF_S / 2) is Action.NOTHING
    assert policy.decide(Observation(), 2 + FIRST_BACKOFF_S) is Action.START
    assert policy.decide(Observation(), 4) is Action.NOTHING
    assert policy.phase is Phase.STARTING
    assert policy.decide(WELL, 5) is Action.NOTHING
    assert policy.phase is Phase.SERVING


def test_waits_double_up_to_a_bound():
    policy = SupervisionPolicy(Limits(max_restarts=20), 0)
    now_s, waits = 0.0, []
    for _ in range(9):
        assert policy.decide(DEAD, now_s) is Action.KILL
        waits.append(policy.due_s - now_s)
        now_s = policy.due_s
        assert policy.decide(Observation(), now_s) is Action.START
    assert waits[:4] == [FIRST_BACKOFF_S * 2**k for k in range(4)]
    assert waits[-1] == LONGEST_BACKOFF_S


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_gives_up_after_the_allowed_restarts(allowed):
    policy = SupervisionPolicy(Limits(max_restarts=allowed), 0)
    now_s = 0.0
    for _ in range(allowed):
        now_s = failed(policy, now_s)
        policy.decide(WELL, now_s + 1)
    assert policy.decide(DEAD, now_s + 2) is Action.GIVE_UP


def test_health_for_long_enough_forgets_restarts():
    policy = SupervisionPolicy(Limits(max_restarts=1, healthy_s=100), 0)
    begun_s = failed(policy, 0)
    policy.decide(WELL, begun_s + 1)
    policy.decide(Observation(ready=False), begun_s + 90)  # not healthy: the count of seconds starts anew
    policy.decide(WELL, begun_s + 91)
    policy.decide(WELL, begun_s + 190)
    assert policy.restarts == 1
    policy.decide(WELL, begun_s + 191)
    assert policy.restarts == 0
    assert policy.decide(DEAD, begun_s + 192) is Action.KILL


def test_a_start_that_takes_too_long_is_a_failure():
    policy = SupervisionPolicy(Limits(ready_timeout_s=30), 0)
    begun_s = failed(policy, 0)
    assert policy.decide(Observation(silent_s=1e6), begun_s + 29) is Action.NOTHING
    assert policy.decide(Observation(), begun_s + 30) is Action.KILL
    assert policy.reason == "not ready in time"


def test_silence_is_a_stall_only_after_its_time():
    policy = SupervisionPolicy(Limits(stall_timeout_s=60), 0)
    assert policy.decide(Observation(silent_s=59), 100) is Action.NOTHING
    assert policy.decide(Observation(silent_s=60), 101) is Action.KILL
    assert policy.reason == "stalled"


@pytest.mark.parametrize("again", [False, True])
def test_a_signal_drains_until_nothing_is_open_or_another_signal_comes(again):
    policy = SupervisionPolicy(Limits(drain_timeout_s=20), 0)
    assert policy.decide(Observation(ready=True, stop_signals=1), 10) is Action.DRAIN
    assert policy.decide(Observation(stop_signals=1), 12) is Action.NOTHING
    if again:
        assert policy.decide(Observation(stop_signals=2), 12.1) is Action.STOP
        return
    assert policy.decide(Observation(stop_signals=1, idle=True), 13) is Action.NOTHING
    assert policy.decide(Observation(stop_signals=1), 14) is Action.NOTHING  # a stream was told late
    assert policy.decide(Observation(stop_signals=1, idle=True), 14.1) is Action.NOTHING
    assert policy.decide(Observation(stop_signals=1, idle=True), 14 + QUIET_S) is Action.NOTHING
    assert policy.decide(Observation(stop_signals=1, idle=True), 14.1 + QUIET_S) is Action.STOP


def test_a_drain_outwaits_the_gauge_of_open_streams():
    stage = Path(eulernet_serving.__path__[0], "stages", "stage.py").read_text()  # imports Triton's own module
    interval_s = float(re.search(r"^GAUGE_INTERVAL_S = ([\d.]+)", stage, re.MULTILINE)[1])
    assert 2 * interval_s <= QUIET_S


def test_a_drain_ends_at_its_deadline():
    policy = SupervisionPolicy(Limits(drain_timeout_s=20), 0)
    policy.decide(Observation(stop_signals=1), 10)
    assert policy.decide(Observation(stop_signals=1), 29.9) is Action.NOTHING
    assert policy.decide(Observation(stop_signals=1), 30) is Action.STOP


def test_a_drain_lasts_at_least_so_long():
    policy = SupervisionPolicy(Limits(drain_min_s=5), 0)
    policy.decide(Observation(stop_signals=1), 10)
    for now_s in (10.1, 12, 14.9):
        assert policy.decide(Observation(stop_signals=1, idle=True), now_s) is Action.NOTHING
    assert policy.decide(Observation(stop_signals=1, idle=True), 15) is Action.STOP


def test_a_death_ends_a_drain():
    policy = SupervisionPolicy(Limits(), 0)
    policy.decide(Observation(stop_signals=1), 10)
    assert policy.decide(Observation(failed="died", stop_signals=1), 11) is Action.STOP


@pytest.mark.parametrize("drain_s", [0, 20])
def test_nothing_is_drained_while_nothing_is_served(drain_s):
    policy = SupervisionPolicy(Limits(drain_timeout_s=drain_s), 0)
    if drain_s:
        policy.decide(DEAD, 1)
    assert policy.decide(Observation(stop_signals=1), 1.1) is Action.STOP


class Way:
    """A way of two stages under probes that each take ten seconds."""

    def __init__(self) -> None:
        self.health = WayHealth("way", ["first", "second"], 0.0)
        self.now_s = 0.0

    def round(self, answer, first=None, second=None, waiting=1):
        """One round of probes, then the stages' counts and the requests that wait for the second; None: no metrics."""
        counts = {"first": first, "second": second}
        readings = None if first is None else Readings(counts, {"first": 1, "second": waiting}, 0)
        self.health.update(ProbeRound(self.now_s, self.now_s + 10, {"way": answer}, readings))
        self.now_s += 10
        return self.health.ready, self.health.silent_s(self.now_s)


def test_overload_is_no_stall():
    way = Way()
    assert way.round(Answer.OK, 10, 10) == (True, 0)
    for k in range(20):
        assert way.round(Answer.NONE, 20 + k, 20 + k) == (True, 0)


def test_a_stage_that_overload_leaves_without_work_does_not_hang():
    way = Way()
    way.round(Answer.OK, 10, 10)
    for k in range(20):
        assert way.round(Answer.NONE, 20 + k, 10, waiting=0) == (True, 0)
    assert way.round(Answer.NONE, 39, 10, waiting=0) == (False, 10)  # nothing at all infers any more


def test_a_way_that_was_not_ready_is_not_made_ready_by_load():
    way = Way()
    for k in range(20):
        ready, silent_s = way.round(Answer.NONE, 20 + k, 20 + k)
        assert not ready
    assert silent_s == 0


def test_one_stage_that_hangs_is_a_stall_whatever_the_other_does():
    way = Way()
    way.round(Answer.OK, 10, 10)
    assert way.round(Answer.NONE, 20, 10) == (False, 10)
    assert way.round(Answer.NONE, 30, 10) == (False, 20)


def test_a_server_without_metrics_makes_no_progress():
    way = Way()
    way.round(Answer.OK, 10, 10)
    assert way.round(Answer.NONE) == (False, 10)
    assert way.round(Answer.OK, 12, 12) == (True, 0)


def test_an_error_is_not_ready_and_no_stall_while_inferences_advance():
    way = Way()
    way.round(Answer.OK, 10, 10)
    assert way.round(Answer.ERROR, 20, 20) == (False, 0)
