# SPDX-License-Identifier: Apache-2.0
"""Analysis of the points: knee, fitted lines, bottleneck at the knee. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import correlation, linear_regression, mean
from typing import Any

from eulernet_loadtest.plan import Mode

KNEE_SHARE = 0.95
DEPENDABLE_R2 = 0.9  # the page states a slope only above it
FULL = 0.9  # share of the cores, or of a stage's time, above which it counts as full
FRAMES_PER_REQUEST = {mode.value: mode.frames_per_request for mode in Mode}


def knee(points: Sequence[tuple[int, float]], share: float = KNEE_SHARE) -> int:
    """The smallest concurrency that reaches `share` of the best throughput.

    Args:
        points: pairs of concurrency and throughput.
    Raises: ValueError if nothing was scored.
    """
    best = max((throughput for _, throughput in points), default=0.0)
    if best <= 0:
        raise ValueError(
            f"{len(points)} points, best throughput {best:g}: nothing was scored, which makes a knee impossible"
        )
    return min(concurrency for concurrency, throughput in points if throughput >= share * best)


@dataclass(frozen=True)
class Line:
    """y = slope x + intercept by least squares; `r2`: coefficient of determination."""

    slope: float
    intercept: float
    r2: float

    def at(self, x: float) -> float:
        return self.slope * x + self.intercept


def line(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line. Raises: ValueError for fewer than two different x."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if len(set(xs)) < 2:
        raise ValueError(f"{len(points)} points with {len(set(xs))} different x: a line needs two")
    slope, intercept = linear_regression(xs, ys)
    r2 = 1.0 if len(set(ys)) < 2 else correlation(xs, ys) ** 2  # equal y: the line goes through all points
    return Line(slope, intercept, r2)


def busiest(load: dict[str, Any]) -> str:
    """Text: the stage that computes for the largest share of the time."""
    if not load["stages"]:
        return "no stage computed"
    name, stage = max(load["stages"].items(), key=lambda item: item[1]["busy"])
    instances = f"{stage['instances']} instance{'s' if stage['instances'] > 1 else ''}"
    return (
        f"the busiest stage is `{name}` ({instances}), computing {100 * stage['busy']:.0f} % of the time, "
        f"{stage['batch']:.1f} requests in a batch"
    )


def limit(load: dict[str, Any], cores: int) -> str:
    """Text: the bottleneck of a load: the processor, a stage, or neither."""
    used = load["server_cores"] + load["client_cores"] + load["other_cores"]
    shares = (
        f"of {cores} cores the server uses {load['server_cores']:.2f}, the load tester {load['client_cores']:.2f}, "
        f"other programs {load['other_cores']:.2f}"
    )
    if used >= FULL * cores:
        return f"the processor is full: {shares}; {busiest(load)}"
    if any(stage["busy"] >= FULL for stage in load["stages"].values()):
        return f"a stage is full while the processor is not: {busiest(load)}; {shares}"
    return f"neither the processor nor any stage is full, and requests wait for each other: {shares}; {busiest(load)}"


def concurrency_view(points: list[dict[str, Any]], cores: int) -> list[dict[str, Any]]:
    """For each mode: table, knee and bottleneck."""
    views = []
    for mode in FRAMES_PER_REQUEST:
        rows = sorted((p for p in points if p["mode"] == mode), key=lambda p: p["concurrency"])
        if not rows:
            continue
        at = knee([(row["concurrency"], row["throughput_fps"]) for row in rows])
        bend, last = next(row for row in rows if row["concurrency"] == at), rows[-1]
        views.append(
            {
                "mode": mode,
                "rows": rows,
                "knee": at,
                "at_knee": bend,
                "first": rows[0],
                "best_fps": max(row["throughput_fps"] for row in rows),
                "last": last,
                "limit": limit(bend, cores),
                # Little's law: the latency of so many requests that share the throughput.
                "expected_ms": 1000 * last["concurrency"] * FRAMES_PER_REQUEST[mode] / last["throughput_fps"]
                if last["throughput_fps"]
                else None,
            }
        )
    return views


def frame_size_view(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each mode: table, and the time of a frame as a line over megapixels."""
    views = []
    for mode in FRAMES_PER_REQUEST:
        rows = [
            row | {"megapixels": row["width_px"] * row["height_px"] / 1e6, "frame_ms": 1000 / row["throughput_fps"]}
            for row in points
            if row["mode"] == mode and row["throughput_fps"] > 0
        ]
        if len(rows) < 2:
            continue
        fit = line([(row["megapixels"], row["frame_ms"]) for row in rows])
        largest = max(rows, key=lambda row: row["megapixels"])
        smallest = min(rows, key=lambda row: row["megapixels"])
        share = fit.slope * largest["megapixels"] / fit.at(largest["megapixels"])
        views.append(
            {"mode": mode, "rows": rows, "line": fit, "largest": largest, "pixels_share": share}
            | {f"busiest_{name}": busiest(row) for name, row in (("smallest", smallest), ("largest", largest))}
            | {"smallest": smallest}
        )
    return views


def open_sequences_view(part: dict[str, Any]) -> dict[str, Any] | None:
    """Memory as a line over the number of open streams, and the latency; None for fewer than two points."""
    rows = sorted(part["points"], key=lambda row: row["sequences"])
    if len(rows) < 2:
        return None
    memory = line([(row["sequences"], row["pss_bytes"]) for row in rows])
    agree = all(number == row["sequences"] for row in rows for number in row["open"].values())
    return {
        "rows": rows,
        "line": memory,
        "dependable": len(rows) > 2 and memory.slope > 0 and memory.r2 >= DEPENDABLE_R2,
        "state_bytes": part["state_bytes"],
        "beside_bytes": memory.slope - part["state_bytes"],
        "metric_agrees": agree,
        "idle_limit_s": part["idle_limit_s"],
        "given_up": [row for row in rows if row["opening_s"] > part["idle_limit_s"]],
        "first": rows[0],
        "last": rows[-1],
        "rate_hz": part["rate_hz"],
    }


def others_cores(loads: list[dict[str, Any]]) -> float:
    """Mean processor use of other programs, in cores."""
    return mean(load["other_cores"] for load in loads) if loads else 0.0
