# SPDX-License-Identifier: Apache-2.0
"""How much one replica takes, how many replicas and GPUs a load needs, and what a million clips cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_loadtest.planning.frame_simulation import clip_latencies, stream_latencies
from eulernet_loadtest.planning.measured_service import MeasuredService

_RATE_STEPS = 200  # a clip rate is found to this part of the largest throughput


@dataclass(frozen=True)
class Share:
    """The load of one replica.

    Attributes:
        load: open streams, or clips/s.
        requests_per_s: frames or clip calls.
        used: share of the largest measured throughput, 0 to 1.
        p50_s, p99_s: latency of a request, simulated.
    """

    load: float
    requests_per_s: float
    used: float
    p50_s: float
    p99_s: float


def _share(measured: MeasuredService, load: float, requests_per_s: float, latencies_s: NDArray[np.float64]) -> Share:
    middle, tail = np.percentile(latencies_s, (50, 99), method="lower")
    return Share(load, requests_per_s, requests_per_s / measured.most_per_s, float(middle), float(tail))


def stream_share(measured: MeasuredService, streams: int, fps: float) -> Share:
    """One replica with so many streams."""
    return _share(measured, streams, streams * fps, stream_latencies(measured, streams, fps))


def clip_share(measured: MeasuredService, clips_per_s: float) -> Share:
    """One replica with so many clip calls a second."""
    return _share(measured, clips_per_s, clips_per_s, clip_latencies(measured, clips_per_s))


def largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that `holds`, by bisection; 0 if 1 does not."""
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def most_streams(measured: MeasuredService, fps: float, p99_s: float, reserve: float, slots: int) -> Share | None:
    """The most streams that one replica takes; None if it can't take one.

    Args:
        p99_s: largest p99 of a frame.
        reserve: share of the largest throughput that stays free.
        slots: streams that a replica admits.
    """
    most = min(slots, floor((1 - reserve) * measured.most_per_s / fps))
    found = largest(lambda streams: stream_share(measured, streams, fps).p99_s <= p99_s, most)
    return stream_share(measured, found, fps) if found else None


def most_clips(measured: MeasuredService, p99_s: float, reserve: float) -> Share | None:
    """The most clips/s that one replica takes; None if its p99 is above `p99_s` at any rate."""
    step_hz = measured.most_per_s / _RATE_STEPS
    most = floor((1 - reserve) * _RATE_STEPS)
    found = largest(lambda steps: clip_share(measured, steps * step_hz).p99_s <= p99_s, most)
    return clip_share(measured, found * step_hz) if found else None


def replicas_for(load: float, each: float, zones: int) -> int:
    """The fewest replicas, spread evenly over the zones, that take the load; with several zones also after one is lost.

    Args:
        load: streams or clips/s in all; each: of one replica.
    """
    needed = ceil(load / each)
    if zones == 1:
        return needed
    return next(count for count in range(needed, 2 * needed + zones + 1) if left_after_zone(count, zones) >= needed)


def left_after_zone(replicas: int, zones: int) -> int:
    """Replicas that are left when the fullest of several zones is lost."""
    return replicas - ceil(replicas / zones)


def clips_per_hour(streams: int, fps: float, clips_per_s: float) -> float:
    """Clips that a load scores in an hour; a stream's frames count by four."""
    return 3600 * (streams * fps / CLIP_FRAMES + clips_per_s)


def cost_of_a_million(price_per_hour: float, priced: int, clips_an_hour: float) -> float:
    """What a million clips cost, in the price's currency. `priced`: GPUs, or replicas, that are paid for."""
    return price_per_hour * priced / clips_an_hour * 1e6


def least_cost_of_a_million(price_per_hour: float, replicas: int, measured: MeasuredService) -> float:
    """What a million clips cost at the largest measured throughput, with nothing held back for latency.

    Args:
        price_per_hour: of a machine or GPU; replicas: that share it.
    """
    clips_an_hour = 3600 * replicas * measured.most_per_s * measured.mode.frames_per_request / CLIP_FRAMES
    return cost_of_a_million(price_per_hour, 1, clips_an_hour)
