# SPDX-License-Identifier: Apache-2.0
"""The simulated fleet: how the gateway lays streams, beside a simulation of every frame; a zone lost; table sizes."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from random import Random

import numpy as np
import pytest

from eulernet_loadtest.plan import Mode
from eulernet_loadtest.planning.fleet_simulation import TABLE_EXPIRY_S, Fleet, Outcome, simulate, table
from eulernet_loadtest.planning.measured_service import MeasuredService, Service

TIMES_S = {1: 0.010, 2: 0.014, 4: 0.020, 8: 0.034, 16: 0.064}
SERVICES = tuple(Service(each, (0.9, 1.1)) for each in TIMES_S.values())
MEASURED = MeasuredService(Mode.STREAMS, tuple(TIMES_S), SERVICES, SERVICES[0])
FPS = 10.0


def fleet(replicas: int, streams: int, zones: int = 1, gateways: int = 1, stream_s: float = 10.0) -> Fleet:
    return Fleet(replicas, zones, gateways, streams, FPS, stream_s, table_size=100_000)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """By scenario: 120 streams on 12 replicas in three zones, behind two gateways."""
    return {each.scenario: each for each in simulate(MEASURED, fleet(12, 120, zones=3, gateways=2))}


class TestOutcomes:
    def test_even_streams(self, outcomes):
        assert outcomes["even"].mean == outcomes["even"].most == 10
        assert outcomes["even"].used == pytest.approx(0.4)
        assert outcomes["even"].p99_s == pytest.approx(outcomes["even"].busiest_p99_s, rel=0.01)

    def test_the_gateway_lays_them_unevenly(self, outcomes):
        even, gateway = outcomes["even"], outcomes["gateway"]
        assert gateway.replicas == 12
        assert gateway.mean == pytest.approx(10)  # none is lost, none is laid twice
        assert gateway.p99 > even.p99
        assert gateway.p99_s > even.p99_s
        assert gateway.busiest_p99_s > gateway.p99_s

    def test_a_lost_zone_leaves_its_streams_to_the_others(self, outcomes):
        lost = outcomes["zone lost"]
        assert lost.replicas == 8
        assert lost.mean == pytest.approx(15, rel=0.02)
        assert 25 <= lost.replayed <= 60  # of 120 streams about a third
        assert lost.p99_s > outcomes["gateway"].p99_s
        assert 5 < lost.back_s < 30

    def test_one_zone_is_not_lost(self):
        assert [each.scenario for each in simulate(MEASURED, fleet(3, 12))] == ["even", "gateway"]

    def test_what_is_left_does_not_keep_up(self):
        lost = simulate(MEASURED, fleet(2, 40, zones=2))[-1]
        assert lost.used > 1
        assert lost.back_s == float("inf")


def test_too_large_a_fleet_is_refused():
    with pytest.raises(ValueError, match="1001"):
        fleet(1001, 10)


def test_a_table_holds_ended_streams_until_they_expire():
    short = table(fleet(10, 1000, stream_s=10.0))
    assert short.wanted == 1000 + 100 * TABLE_EXPIRY_S
    assert short.forgotten == 0  # beyond the table's size the ended ones go first
    assert table(Fleet(10, 1, 1, 1000, FPS, 10.0, table_size=1024)).forgotten == 0
    assert table(Fleet(10, 1, 1, 3000, FPS, 10.0, table_size=1024)).forgotten == 1976


def every_frame(replicas: int, streams: int, stream_s: float, seconds: float, seed: int) -> Iterator[list[int]]:
    """Streams of each replica, once a second, where every frame is simulated and leastconn is followed exactly.

    A replica serves its frames one by one, 10 ms each. HAProxy takes the server with the fewest requests under way, and
    among equals the one that came to this number first.
    """
    random = Random(seed)
    open_streams, under_way, since = [0] * replicas, [0] * replicas, [float(n) - replicas for n in range(replicas)]
    free_s = [0.0] * replicas
    events = [(random.random(), 0, number, -1) for number in range(streams)]  # time, kind, stream, replica
    events += [(float(second), 3, 0, 0) for second in range(1, int(seconds))]
    heapify(events)
    ends_s = [0.0] * streams
    while events:
        now_s, kind, stream, replica = heappop(events)
        if kind == 3:
            yield list(open_streams)
        elif kind == 1:  # a frame is answered
            under_way[replica] -= 1
            since[replica] = now_s
        elif now_s < seconds:
            if replica < 0 or now_s >= ends_s[stream]:
                if replica >= 0:
                    open_streams[replica] -= 1
                replica = min(range(replicas), key=lambda n: (under_way[n], since[n]))
                open_streams[replica] += 1
                ends_s[stream] = now_s + random.expovariate(1 / stream_s)
            under_way[replica] += 1
            since[replica] = now_s
            free_s[replica] = max(now_s, free_s[replica]) + 0.01
            heappush(events, (free_s[replica], 1, stream, replica))
            heappush(events, (now_s + 1 / FPS, 0, stream, replica))


def test_the_spread_is_that_of_a_simulation_of_every_frame():
    alone = tuple(Service(0.01 * n, (1.0,)) for n in (1, 8))
    one_by_one = MeasuredService(Mode.STREAMS, (1, 8), alone, alone[0])
    exact = [number for seed in (1, 2) for seen in list(every_frame(8, 48, 5.0, 120, seed))[20:] for number in seen]
    spreads = []
    for seed in (1, 2, 3):
        found = simulate(one_by_one, Fleet(8, 1, 1, 48, FPS, 40.0, 100_000), seed)[1]
        spreads.append(found.p99 - found.mean)
    assert np.mean(exact) == pytest.approx(6)
    assert np.mean(spreads) == pytest.approx(np.percentile(exact, 99) - 6, abs=1.2)
    # At random, whatever is under way, it would be wider by far: binomial, with a standard deviation of 2.3.
    assert np.std(exact) < 2.0
