# SPDX-License-Identifier: Apache-2.0
"""One call of `eulernet plan`: the load in, the plan out, as a record, as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eulernet_client.terminal_output import PatientConsole
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.loadtest_command import MOST_STREAMS
from eulernet_loadtest.plan import Mode
from eulernet_loadtest.planning import capacity
from eulernet_loadtest.planning.capacity import Share
from eulernet_loadtest.planning.fleet_simulation import MOST_REPLICAS, Fleet, Outcome, Table, simulate, table
from eulernet_loadtest.planning.measured_service import (
    HOW_TO_MEASURE,
    MeasuredLoadError,
    MeasuredService,
    read_runs,
    read_services,
)
from eulernet_loadtest.planning.model_check import Comparison, compare
from eulernet_loadtest.planning.plan_tables import comparison_table, fleet_table, summary_table


@dataclass(frozen=True)
class Asked:
    """The load and the limits: the options of `eulernet plan`, which explains them."""

    p99_ms: float = math.inf
    streams: int | None = None
    fps: float = 10.0
    clips_per_s: float | None = None
    reserve: float = 0.2
    zones: int = 1
    replicas_per_gpu: int | None = None
    price_per_hour: float | None = None
    simulate: bool = False
    stream_s: float = 10.0
    gateways: int = 2
    table_size: int = 100_000
    seed: int = 1

    @property
    def p99_s(self) -> float:
        return self.p99_ms / 1000


@dataclass(frozen=True)
class PlanResult:
    """A plan.

    Attributes:
        streams, clips: load of one replica for each kind of load; None: not asked for, or no load holds the p99.
        stream_replicas, clip_replicas: replicas for each.
        gpus: None where the replicas have none.
        million_clips: their cost; None without a price. `least_million_clips`: the same at a replica's largest
            throughput, by the mode that was measured.
        holds: whether the p99 holds, also in the simulation.
        fleet: scenarios of the simulation; table: what a gateway's table needs.
        checked: the model beside measured loads.
    """

    asked: Asked
    streams: Share | None
    clips: Share | None
    stream_replicas: int
    clip_replicas: int
    gpus: int | None
    million_clips: float | None
    least_million_clips: dict[Mode, float]
    holds: bool
    fleet: tuple[Outcome, ...]
    table: Table | None
    checked: tuple[Comparison, ...]

    @property
    def replicas(self) -> int:
        """Of both kinds."""
        return self.stream_replicas + self.clip_replicas


def make_plan(reports: Sequence[Path], asked: Asked) -> PlanResult:
    """The plan. `reports`: report.json files of the load tester. Raises: MeasuredLoadError."""
    services = read_services(reports)
    of_streams, of_clips, outcomes, million = None, None, [], None
    stream_replicas, clip_replicas, gpus = 0, 0, None
    if asked.streams is not None:
        measured = _of(services, Mode.STREAMS)
        of_streams = capacity.most_streams(measured, asked.fps, asked.p99_s, asked.reserve, MOST_STREAMS)
    if asked.clips_per_s is not None:
        of_clips = capacity.most_clips(_of(services, Mode.CLIPS), asked.p99_s, asked.reserve)
    if asked.streams is not None and of_streams is not None:
        stream_replicas = capacity.replicas_for(asked.streams, of_streams.load, asked.zones)
    if asked.clips_per_s is not None and of_clips is not None:
        clip_replicas = capacity.replicas_for(asked.clips_per_s, of_clips.load, asked.zones)
    replicas = stream_replicas + clip_replicas
    holds = bool(asked.streams) <= bool(of_streams) and bool(asked.clips_per_s) <= bool(of_clips)
    if asked.replicas_per_gpu is not None:
        gpus = math.ceil(replicas / asked.replicas_per_gpu)
    if asked.price_per_hour is not None and holds and replicas:
        clips_an_hour = capacity.clips_per_hour(asked.streams or 0, asked.fps, asked.clips_per_s or 0.0)
        million = capacity.cost_of_a_million(asked.price_per_hour, replicas if gpus is None else gpus, clips_an_hour)
    fleet = _fleet(asked, stream_replicas) if asked.simulate and stream_replicas else None
    if fleet is not None:
        outcomes = simulate(services[Mode.STREAMS], fleet, asked.seed)
    return PlanResult(
        asked=asked,
        streams=of_streams,
        clips=of_clips,
        stream_replicas=stream_replicas,
        clip_replicas=clip_replicas,
        gpus=gpus,
        million_clips=million,
        least_million_clips=_least_costs(services, asked),
        holds=holds and all(each.p99_s <= asked.p99_s for each in outcomes),
        fleet=tuple(outcomes),
        table=table(fleet) if fleet else None,
        checked=tuple(compare(services, read_runs(reports))),
    )


def _least_costs(services: dict[Mode, MeasuredService], asked: Asked) -> dict[Mode, float]:
    if asked.price_per_hour is None:
        return {}
    replicas = asked.replicas_per_gpu or 1
    return {
        mode: capacity.least_cost_of_a_million(asked.price_per_hour, replicas, each) for mode, each in services.items()
    }


def _fleet(asked: Asked, replicas: int) -> Fleet:
    assert asked.streams is not None  # there are no replicas for streams without
    if replicas > MOST_REPLICAS:
        raise MeasuredLoadError(
            f"{replicas} replicas: the simulation takes {MOST_REPLICAS} at most; give fewer --streams, or leave out "
            f"--simulate"
        )
    return Fleet(replicas, asked.zones, asked.gateways, asked.streams, asked.fps, asked.stream_s, asked.table_size)


def _of(services: dict[Mode, MeasuredService], mode: Mode) -> MeasuredService:
    if mode not in services:
        raise MeasuredLoadError(f"no closed loop of {mode.value} was measured; measure: {HOW_TO_MEASURE[mode]}")
    return services[mode]


def show(result: PlanResult) -> None:
    """Prints the plan."""
    console = PatientConsole(highlight=False)
    asked = result.asked
    if result.checked:
        console.print(comparison_table(result.checked))
    console.print(summary_table(_rows(result)))
    if result.fleet:
        console.print()
        console.print(fleet_table(result.fleet, asked.p99_s))
    for note in notes(result):
        console.print(note, style="yellow", markup=False)


def _rows(result: PlanResult) -> list[tuple[str, str]]:
    rows = []
    for name, share, count in (
        ("streams", result.streams, result.stream_replicas),
        ("clips/s", result.clips, result.clip_replicas),
    ):
        if share is not None:
            rows.append((f"{name} of a replica", f"{share.load:.4g}"))
            rows.append(
                ("  p50, p99 of a request", f"{1000 * share.p50_s:.1f}, {1000 * share.p99_s:.1f} ms"),
            )
            rows.append(("  used of its throughput", f"{share.used:.0%}"))
            rows.append((f"replicas for {name}", f"{count:,}"))
    if result.asked.streams or result.asked.clips_per_s:
        rows.append(("replicas", f"{result.replicas:,}" if result.replicas else "none holds"))
    if result.gpus:
        rows.append(("GPUs", f"{result.gpus:,}"))
    if result.million_clips is not None:
        rows.append(
            (f"cost of a million clips at {result.asked.price_per_hour:g} an hour", f"{result.million_clips:.2f}")
        )
    rows += [
        (f"least cost of a million clips, sent as {mode.value}", f"{cost:.2f}")
        for mode, cost in result.least_million_clips.items()
    ]
    if result.table is not None:
        rows.append(("entries in a gateway's table", f"{result.table.wanted:,}"))
    return rows


def notes(result: PlanResult) -> list[str]:
    """What the reader should know beside the figures."""
    asked, found = result.asked, []
    for name, wanted, share in (
        ("stream", asked.streams, result.streams),
        ("clip call", asked.clips_per_s, result.clips),
    ):
        if wanted is not None and share is None:
            found.append(
                f"one {name} alone has a p99 above {asked.p99_ms:g} ms, or needs more than the reserve leaves: "
                f"allow more, or measure a faster replica"
            )
    found += [
        f"{each.load}: the model's p99 differs by {each.p99_error:+.0%} from the measured one: measure longer, on an "
        f"idle machine, before you rely on the plan"
        for each in result.checked
        if not each.agrees
    ]
    if result.table is not None and result.table.forgotten:
        found.append(
            f"a table of {asked.table_size:,} entries forgets open streams, which are then replayed: set "
            f"gateway.limits.streams to {asked.streams:,} at least"
        )
    for each in result.fleet:
        if each.replayed:
            back = f"{each.back_s:.0f} s" if math.isfinite(each.back_s) else "never"
            found.append(
                f"{each.scenario}: {each.replayed:,} streams are replayed; their frames are worked off: {back}"
            )
        if each.p99_s > asked.p99_s:
            found.append(f"{each.scenario}: p99 {1000 * each.p99_s:.1f} ms; raise --reserve or --zones")
    return found


def write_plan(result: PlanResult, path: Path) -> None:
    """Writes the plan as JSON; an infinite time is null. Raises: OSError."""
    content = {**asdict(result), "replicas": result.replicas, "notes": notes(result), "clip_frames": CLIP_FRAMES}
    write_whole_text(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
