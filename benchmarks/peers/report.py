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
from benchmarks.peers.contest import WAYS
from benchmarks.peers.results import Ratio, medians, versions
from eulernet_loadtest.results import Machine

TEMPLATE = Path(__file__).with_name("peers.md.j2")
BUSY_CORES = 0.1  # use by other programs, above which the page warns
NAMED = ("fastapi", "uvicorn", "litserve", "onnxruntime", "opencv-python-headless", "mnn", "openvino",
         "nvidia-dali-cuda120", "nvidia-pytriton", "tritonclient", "aiohttp", "numpy")  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """Date, machine, versions and options, common to all sections."""

    created: str
    machine: Machine
    versions: dict[str, str]
    weights: str
    options: Options
    left_out: list[str]


def surroundings(repository: Path, options: Options, left_out: list[str]) -> Surroundings:
    """The surroundings before the first load."""
    graph = onnx.load(repository / "eulernet_clip" / "1" / "model.onnx", load_external_data=False)
    weights = {each.key: each.value for each in graph.metadata_props}.get("weights", "unknown")
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return Surroundings(created, Machine.here(), versions(), weights, options, left_out)


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
        "ratios": [asdict(ratio) for ratio in section.ratios],
        "stages": {key: [asdict(stage) for stage in section.stage_times(key)] for key in keys},
    }


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
        busy_cores=BUSY_CORES,
    )


def spread_text(ratio: Ratio) -> str:
    """`3.10 (2.90 to 3.30)`."""
    spread = ratio.spread
    return f"{spread.median:.2f} ({spread.lowest:.2f} to {spread.highest:.2f})"


def target_text(ratio: Ratio) -> str:
    """`at least 3.00: passed`; a dash without a target."""
    if ratio.bound is None:
        return "–"
    side = "at least" if ratio.at_least else "below"
    return f"{side} {ratio.bound:.2f}: {'passed' if ratio.passed else 'missed'}"
