# SPDX-License-Identifier: Apache-2.0
"""Makes results.json and peers.md from the same records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx

from benchmarks.pages import render
from benchmarks.peers.bench import Options, Section
from benchmarks.peers.bench_loads import OFFERED_SHARE, Kind
from benchmarks.peers.contest import WAYS
from benchmarks.peers.peer_inputs import FEATURES
from benchmarks.peers.results import SMALL, WITH_VNNI, WITHOUT_VNNI, Ratio, medians, versions
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_loadtest.results import Machine
from eulernet_serving.cpu_precision import has_vnni, processor_features
from eulernet_serving.plan_records import precision_of

TEMPLATE = Path(__file__).with_name("peers.md.j2")
BUSY_CORES = 0.1  # use by other programs, above which the page warns
NAMED = ("fastapi", "uvicorn", "litserve", "onnxruntime", "opencv-python-headless", "openvino",
         "simplejpeg", "nvidia-pytriton", "tritonclient", "aiohttp", "numpy")  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """Date, machine, versions and options, common to all sections.

    Attributes:
        features: the processor's, of FEATURES; `vnni`: whether int8 has its instructions.
        weights, precision: of the served clip network.
        left_out: a line for each way that was not measured; `notes`: sentences about the others.
    """

    created: str
    machine: Machine
    versions: dict[str, str]
    features: list[str]
    vnni: bool
    weights: str
    precision: str
    options: Options
    left_out: list[str]
    notes: list[str]


def surroundings(repository: Path, options: Options, left_out: list[str], notes: Sequence[str]) -> Surroundings:
    """The surroundings before the first load."""
    graph = onnx.load(repository / CLIP_NETWORK_MODEL / "1" / "model.onnx", load_external_data=False)
    weights = {each.key: each.value for each in graph.metadata_props}.get("weights", "unknown")
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    features = [name for name in FEATURES if name in processor_features()]
    return Surroundings(
        created=created,
        machine=Machine.here(),
        versions=versions(),
        features=features,
        vnni=has_vnni(),
        weights=weights,
        precision=precision_of(graph),
        options=options,
        left_out=left_out,
        notes=list(notes),
    )


def document(around: Surroundings, sections: Sequence[Section]) -> dict[str, Any]:
    """For results.json: plain numbers, all finite."""
    return {
        **asdict(around),
        "ways": {way.key: way.title for way in WAYS},
        "sections": [_section(section) for section in sections],
    }


def _section(section: Section) -> dict[str, Any]:
    keys = [way.key for way in WAYS if medians(section.turns, way.key)]
    return {
        **{name: value for name, value in asdict(section).items() if name != "stages"},
        "medians": {key: medians(section.turns, key) for key in keys},
        "more": {key: more for key in keys if (more := _more(section, key))},
        "ratios": [asdict(ratio) for ratio in section.ratios],
        "stages": {key: [asdict(stage) for stage in section.stage_times(key)] for key in keys},
    }


def _more(section: Section, key: str) -> dict[str, dict[str, float]]:
    """Medians of a way's additional loads, by kind."""
    found = {kind.value: medians(section.turns, key, kind) for kind in Kind if kind is not Kind.AT_ONCE}
    return {kind: figures for kind, figures in found.items() if figures}


def more_loads(section: Section, options: Options) -> list[tuple[str, str, dict[str, float]]]:
    """A way's key, the load as text, and the medians, of all additional loads."""
    kinds = [kind for kind in Kind if kind is not Kind.AT_ONCE]
    rows = [
        (way.key, options.loads.words(kind), medians(section.turns, way.key, kind)) for kind in kinds for way in WAYS
    ]
    return [row for row in rows if row[2]]


def markdown(around: Surroundings, sections: Sequence[Section]) -> str:
    """For peers.md and the terminal."""
    return render(
        TEMPLATE,
        {"spread": spread_text, "target": target_text},
        around=around,
        named={name: around.versions[name] for name in NAMED if name in around.versions},
        sections=sections,
        ways=WAYS,
        medians=medians,
        more_loads=more_loads,
        busy_cores=BUSY_CORES,
        offered_share=OFFERED_SHARE,
        target_frames=SMALL,
        with_vnni=WITH_VNNI,
        without_vnni=WITHOUT_VNNI,
    )


def spread_text(ratio: Ratio) -> str:
    """`3.10 (2.90 to 3.30)`."""
    spread = ratio.spread
    return f"{spread.median:.2f} ({spread.lowest:.2f} to {spread.highest:.2f})"


def target_text(ratio: Ratio) -> str:
    """`at least 3.00: passed`; a dash without a target."""
    if ratio.bound is None:
        return "–"
    side = "at least" if ratio.at_least else "at most"
    aim = f" (aim {ratio.aim:.2f})" if ratio.aim is not None else ""
    errors = f", {ratio.errors} errors" if ratio.errors else ""
    return f"{side} {ratio.bound:.2f}{aim}: {'passed' if ratio.passed else 'missed'}{errors}"
