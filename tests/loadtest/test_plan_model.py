# SPDX-License-Identifier: Apache-2.0
"""The planner's model: known queues, agreement of formula and simulation, sizes and cost by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eulernet_loadtest.plan import Mode
from eulernet_loadtest.planning.capacity import (
    clips_per_hour,
    cost_of_a_million,
    largest,
    left_after_zone,
    most_clips,
    most_streams,
    replicas_for,
)
from eulernet_loadtest.planning.frame_simulation import arriving_latencies, clip_latencies, stream_latencies
from eulernet_loadtest.planning.measured_service import MeasuredService, Service
from eulernet_loadtest.planning.processor_sharing import in_progress, mean_time_s

EVEN = (1.0,)
EXPONENTIAL = tuple(-np.log1p(-(np.arange(512) + 0.5) / 512) / np.mean(-np.log1p(-(np.arange(512) + 0.5) / 512)))


def service(times_s: dict[int, float], spread: tuple[float, ...] = EVEN, mode: Mode = Mode.CLIPS) -> MeasuredService:
    """A replica that takes so long with so many requests in progress."""
    services = tuple(Service(each, spread) for each in times_s.values())
    return MeasuredService(mode, tuple(times_s), services, services[0])


ONE_BY_ONE = {1: 0.01, 8: 0.08}  # no batching: 100/s at any number in progress
BATCHING = {1: 0.010, 2: 0.014, 4: 0.020, 8: 0.034, 16: 0.064}  # 100/s alone, 250/s with 16
PARALLEL = {1: 0.01, 4096: 0.01}  # never slower


class TestFormula:
    def test_without_batching_it_is_the_queue_of_one_server(self):
        measured = service(ONE_BY_ONE)
        for used in (0.1, 0.5, 0.9):
            shares = in_progress(measured, 100 * used, 200)
            assert shares[:20] == pytest.approx([(1 - used) * used**n for n in range(20)], rel=1e-3)
            assert mean_time_s(measured, 100 * used) == pytest.approx(0.01 / (1 - used), rel=1e-3)

    def test_with_a_server_for_each_it_is_poisson(self):
        shares = in_progress(service(PARALLEL), 300, 100)
        assert shares[:3] == pytest.approx([np.exp(-3), 3 * np.exp(-3), 4.5 * np.exp(-3)])
        assert mean_time_s(service(PARALLEL), 300) == pytest.approx(0.01)

    def test_more_streams_than_the_replica_can_serve_keep_it_full(self):
        shares = in_progress(service(BATCHING), 10_000, 12)
        assert shares[-1] > 0.9
        assert shares.sum() == pytest.approx(1)

    def test_overload_has_no_mean(self):
        assert mean_time_s(service(BATCHING), 250) == float("inf")
        assert mean_time_s(service(BATCHING), 240) < 1


class TestSimulation:
    @pytest.mark.parametrize("spread", [EVEN, EXPONENTIAL], ids=["even", "exponential"])
    @pytest.mark.parametrize("rate_hz", [40, 120, 200])
    def test_it_agrees_with_the_formula_for_any_spread(self, spread: tuple[float, ...], rate_hz: float):
        measured = service(BATCHING, spread)
        simulated = np.mean([clip_latencies(measured, rate_hz, 40_000, seed).mean() for seed in (1, 2)])
        assert simulated == pytest.approx(mean_time_s(measured, rate_hz), rel=0.06)

    def test_clips_that_pile_up_have_no_end(self):
        assert np.isinf(clip_latencies(service(ONE_BY_ONE), 300, 20_000)).all()

    def test_a_stream_alone_takes_what_was_measured(self):
        spread = (0.5, 1.5)
        alone = service(BATCHING, spread, Mode.STREAMS)
        found = stream_latencies(alone, 1, 10, 2000)
        assert set(found.round(6)) == {0.005, 0.015}
        cold = replace(alone, lone=Service(0.02, (1.0,)))
        assert set(stream_latencies(cold, 1, 10, 2000).round(6)) == {0.02}

    def test_two_streams_meet_as_often_as_their_phases_do(self):
        """Each takes 10 ms alone. The phases differ by d, even in 0 to 50 ms of a period of 100 ms: below 10 ms the
        first takes 20 - d and the second 20 - d, without batching."""
        measured = service({1: 0.01, 2: 0.02}, mode=Mode.STREAMS)
        found = np.concatenate([stream_latencies(measured, 2, 10, 600, seed) for seed in range(40)])
        met = found > 0.0101
        assert met.mean() == pytest.approx(0.2, abs=0.04)
        assert found[met].mean() == pytest.approx(0.015, abs=0.001)
        assert found.max() <= 0.02 + 1e-9

    def test_given_phases_are_kept(self):
        measured = service({1: 0.01, 2: 0.02}, mode=Mode.STREAMS)
        apart = stream_latencies(measured, 2, 10, 600, phases_s=[0.0, 0.05])
        together = stream_latencies(measured, 2, 10, 600, phases_s=[0.0, 0.0])
        assert apart.max() == pytest.approx(0.01)
        assert together.min() == pytest.approx(0.02)

    def test_given_arrivals_are_served_to_the_last(self):
        found = arriving_latencies(service(ONE_BY_ONE), [0.0, 1.0, 1.0, 2.0], uncounted=1)
        assert found == pytest.approx([0.01, 0.02, 0.02])
        assert len(arriving_latencies(service(ONE_BY_ONE), [0.5], uncounted=1)) == 0

    def test_an_overloaded_stream_falls_behind(self):
        measured = service({1: 0.02, 2: 0.04}, mode=Mode.STREAMS)
        found = stream_latencies(measured, 1, 100, 1600)
        assert found.max() > 0.5  # 20 ms of work every 10 ms, a hundred frames a draw

    def test_a_seed_gives_the_same_latencies(self):
        measured = service(BATCHING, EXPONENTIAL, Mode.STREAMS)
        first, same, other = (stream_latencies(measured, 5, 10, 500, seed) for seed in (1, 1, 2))
        assert (first == same).all()
        assert (first != other).any()


class TestMeasured:
    def test_times_between_and_beyond_the_measured_numbers(self):
        times_s = service(BATCHING).times_s(32)
        assert times_s[3] == pytest.approx(0.017)
        assert times_s[16] == pytest.approx(0.064)
        assert times_s[32] == pytest.approx(0.128)  # the throughput stays

    def test_the_nearest_number_by_ratio(self):
        measured = service(BATCHING)
        assert measured.nearest(1) is measured.services[0]
        assert measured.nearest(5) is measured.services[2]
        assert measured.nearest(6) is measured.services[3]
        assert measured.nearest(1000) is measured.services[-1]

    def test_the_largest_throughput(self):
        assert service(BATCHING).most_per_s == 250


class TestCapacity:
    @pytest.mark.parametrize("limit", range(6))
    def test_the_largest_that_holds(self, limit: int):
        assert largest(lambda number: number <= limit, 5) == limit

    def test_streams_of_a_replica_are_the_most_that_hold(self):
        measured = service(BATCHING, EXPONENTIAL, Mode.STREAMS)
        found = most_streams(measured, 10, 0.1, 0.1, 1024)
        assert found is not None
        assert found.p99_s <= 0.1
        more = stream_latencies(measured, int(found.load) + 1, 10)
        assert np.percentile(more, 99) > 0.1 or (found.load + 1) * 10 > 0.9 * 250
        assert found.used == pytest.approx(found.load * 10 / 250)

    def test_the_reserve_and_the_slots_bound_it(self):
        measured = service(BATCHING, mode=Mode.STREAMS)
        reserved = most_streams(measured, 10, 10, 0.2, 1024)
        assert reserved is not None
        assert reserved.load == 20  # 80 % of 250 frames/s
        full = most_streams(measured, 10, 10, 0.2, 7)
        assert full is not None
        assert full.load == 7

    def test_nothing_holds_a_p99_below_one_request(self):
        assert most_streams(service(BATCHING, mode=Mode.STREAMS), 10, 0.009, 0.2, 1024) is None
        assert most_streams(service(BATCHING, mode=Mode.STREAMS), 300, 1, 0.2, 1024) is None  # 300 frames/s
        assert most_clips(service(BATCHING), 0.009, 0.2) is None

    def test_clips_of_a_replica(self):
        found = most_clips(service(BATCHING), 0.03, 0.2)
        assert found is not None
        assert 60 < found.load < 200
        assert found.p99_s <= 0.03

    @pytest.mark.parametrize(
        ("load", "each", "zones", "replicas", "reason"),
        [
            (100, 10, 1, 10, "even"),
            (101, 10, 1, 11, "rounded up"),
            (100, 10, 2, 20, "one of two zones is lost: 10 are left"),
            (100, 10, 3, 15, "5 of 15 are lost"),
            (1, 10, 3, 2, "one is lost, one is left"),
            (2.5, 1.0, 1, 3, "clips/s are no whole numbers"),
        ],
    )
    def test_replicas(self, load: float, each: float, zones: int, replicas: int, reason: str):
        assert replicas_for(load, each, zones) == replicas, reason
        if zones > 1:
            assert left_after_zone(replicas, zones) * each >= load
            assert left_after_zone(replicas - 1, zones) * each < load

    def test_cost_of_a_million_clips(self):
        # 100 streams of 10 frames/s: 250 clips/s, 900,000 an hour. 8 GPUs at 2.25 an hour: 18 for 900,000 clips.
        assert clips_per_hour(100, 10, 0) == 900_000
        assert cost_of_a_million(2.25, 8, 900_000) == pytest.approx(20)
        assert clips_per_hour(100, 10, 50) == 1_080_000
