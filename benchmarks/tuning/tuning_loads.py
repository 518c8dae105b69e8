# SPDX-License-Identifier: Apache-2.0
"""Loads a changed and an unchanged server by turns, so that both see the machine in the same state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.pages import say
from benchmarks.rig import Load, Rig
from benchmarks.tuning.changes import Change, ChangeError, applied, stages
from eulernet_loadtest.plan import Mode, Plan
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.embedded_server import ServerError

ALONE, TOGETHER = 1, 16  # calls or streams in progress: for latency, for throughput
STREAM_FRAMES = 48
ALONE_SHARE = 0.5  # of the seconds: a single request at a time varies less
CONTROL = "nothing changed"


def _plan(mode: Mode, concurrency: int, seconds: float) -> Plan:
    seconds = seconds * ALONE_SHARE if concurrency == ALONE else seconds
    return Plan(
        mode=mode,
        concurrency=concurrency,
        stream_frames=STREAM_FRAMES if mode is Mode.STREAMS else None,
        duration_s=seconds,
        warm_up_s=seconds / 3,
    )


def _figures(alone: Load, together: Load) -> dict[str, Any]:
    """The compared values."""
    return {
        "throughput_fps": together.throughput_fps,
        "p99_together_ms": together.p99_ms,
        "p50_alone_ms": alone.p50_ms,
        "p99_alone_ms": alone.p99_ms,
        "not_ok": alone.not_ok + together.not_ok,
        "other_cores": (alone.other_cores + together.other_cores) / 2,
    }


def by_turns(
    unchanged: Rig, changed: Rig, pictures: Traffic, modes: list[Mode], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """A record for each mode and round with both servers' values. Every second round starts with the changed one."""
    for mode in modes:  # a batch of a new size is compiled at its first use
        changed.load(pictures, _plan(mode, TOGETHER, min(1.0, seconds)))
    records = []
    for number in range(rounds):
        for mode in modes:
            order = [("unchanged", unchanged), ("changed", changed)][:: -1 if number % 2 else 1]
            loads = {
                (name, concurrency): rig.load(pictures, _plan(mode, concurrency, seconds))
                for concurrency in (ALONE, TOGETHER)
                for name, rig in order
            }
            both = {name: _figures(loads[name, ALONE], loads[name, TOGETHER]) for name, _ in order}
            records.append({"mode": mode.value, "round": number + 1, **both})
    return records


def sweep(
    repository: Path,
    out: Path,
    changes: list[Change],
    pictures: Traffic,
    modes: list[Mode],
    seconds: float,
    rounds: int,
    about: Callable[[Rig], dict[str, Any]],
) -> dict[str, Any]:
    """Compares each change with the unchanged repository; first a second unchanged server, for the noise.

    Args:
        repository: the assembled repository as shipped.
        out: folder for the changed copy and the logs.
        modes: modes to measure; a change is measured in a mode if its ensemble has one of the change's models.
        about: further values for the results.
    Raises: ServerError if the unchanged server does not start; TritonMissingError.
    """
    through = stages(repository)
    points: list[dict[str, Any]] = []
    with Rig(repository, out / "unchanged.log") as unchanged:
        results = about(unchanged)
        for mode in modes:
            unchanged.load(pictures, _plan(mode, TOGETHER, min(2.0, seconds)))
        for number, wanted in enumerate([None, *changes]):
            point: dict[str, Any] = (
                {"name": CONTROL, "before": {}} if wanted is None else asdict(wanted) | {"name": wanted.name}
            )
            touched = [m for m in modes if wanted is None or set(wanted.models) & set(through[m.value])]
            try:
                with ExitStack() as stack:
                    folder = repository
                    if wanted is not None:
                        folder = out / "changed_repository"
                        point["before"] = applied(repository, folder, wanted)
                    changed = stack.enter_context(Rig(folder, out / f"changed_{number}.log"))
                    point["records"] = by_turns(unchanged, changed, pictures, touched, seconds, rounds)
            except (ServerError, ChangeError) as error:
                unchanged.server.check_running()
                point["error"] = str(error)
            points.append(point)
            say(f"{number} of {len(changes)}: {point['name']}: {point.get('error', 'measured')}")
    return results | {"points": points, "stages": through}
