# SPDX-License-Identifier: Apache-2.0
"""An evaluation as JSON, as Markdown, and as one HTML page with its plots."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from eulernet.evaluation import plots
from eulernet.evaluation.bootstrap import CONFIDENCE
from eulernet.evaluation.completeness import INCOMPLETE, Key, Silent, silent_values
from eulernet.evaluation.protocols import Estimate, FoldResult, ProtocolResult
from eulernet.evaluation.published import SOURCE, published
from eulernet.evaluation.report_tables import RULES, SIMULATED, Grid, grids, marked, overview
from eulernet.evaluation.stress_figures import StressResult
from eulernet_core.attack_detection_metrics import FIGURES, EqualErrors, FloatArray
from eulernet_core.whole_files import write_whole

FORMAT = "eulernet-evaluation/1"
SIMULATED_WARNING = (
    "Simulated data: every figure is from rendered videos, not from recordings of people. The figures measure the "
    "method on the simulator; they say nothing about real cameras and can't be compared with results on OULU-NPU."
)
_PLOTS = {
    "roc": (plots.roc, "ROC: share of bona fide accepted over the share of attacks accepted"),
    "det": (plots.det, "DET: BPCER over APCER on normal-deviate axes"),
    "histograms": (plots.histograms, "Histograms of the liveness of bona fide and of each instrument"),
    "slices": (plots.slices, "APCER and BPCER by instrument, phone and session, with intervals"),
}


@dataclass(frozen=True)
class About:
    """
    Attributes:
        system: the evaluated system, such as the weights' label or a file name.
        simulated: whether any of the data is simulated.
        facts: other facts for the top of the report, by name.
        notes: limits of the figures, listed with the warnings.
        threshold: for data without dev scores to set it on; None if dev scores set it.
        equal_errors: where the dev scores set it, see `eer_threshold`.
    """

    system: str
    simulated: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    threshold: float | None = None
    equal_errors: EqualErrors = "pooled"


@dataclass(frozen=True)
class Evaluation:
    """`protocols`: at least one; `stress`: of the protocols with stress instruments."""

    about: About
    protocols: tuple[ProtocolResult, ...]
    stress: tuple[StressResult, ...] = ()

    @property
    def simulated(self) -> bool:
        return self.about.simulated

    @property
    def title(self) -> str:
        """The heading of the report."""
        return marked(f"Evaluation of {self.about.system}", self.simulated)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Limits of the figures: notes and warnings."""
        own = (f"{each.title}: {warning}" for each in self.protocols for warning in each.warnings)
        return (*self.about.notes, *own)

    def overview(self) -> list[Grid]:
        """The table of all protocols, if there are several."""
        return [overview(self.protocols, self.simulated)] if len(self.protocols) > 1 else []

    def stress_grids(self) -> list[Grid]:
        """The tables of the stress instruments."""
        return [each.grid(self.simulated) for each in self.stress]


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """All figures and curves. Rates are shares, 0 to 1; infinite and undefined values are null.

    `stress` is missing in an evaluation without stress instruments.
    """
    stress = {"stress": [_stress_json(each, evaluation.simulated) for each in evaluation.stress]}
    return {
        "format": FORMAT,
        "system": evaluation.about.system,
        "simulated": evaluation.simulated,
        "facts": dict(evaluation.about.facts),
        "confidence": CONFIDENCE,
        "rules": list(RULES),
        "figures": dict(FIGURES),
        "warnings": list(evaluation.warnings),
        "protocols": [_protocol_json(each, evaluation.simulated) for each in evaluation.protocols],
        **(stress if evaluation.stress else {}),
    }


def to_markdown(evaluation: Evaluation) -> str:
    """The tables and the rules, without plots."""
    blocks = [f"# {_plain(evaluation.title)}"]
    if evaluation.simulated:
        blocks.append(f"> **{SIMULATED_WARNING}**")
    facts = [f"{name}: {text}" for name, text in evaluation.about.facts.items()]
    blocks.append(_list([*facts, *(f"Warning: {text}" for text in evaluation.warnings)]))
    blocks += [_grid_markdown(grid) for grid in evaluation.overview()]
    for result in evaluation.protocols:
        blocks += [_grid_markdown(grid) for grid in grids(result, evaluation.simulated)]
    blocks += [_grid_markdown(grid) for grid in evaluation.stress_grids()]
    blocks += ["## How the figures are computed", _list(RULES)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def to_html(evaluation: Evaluation) -> str:
    """One self-contained page, without links to other files or the network."""
    environment = Environment(
        loader=PackageLoader("eulernet.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        {
            "result": result,
            "grids": grids(result, evaluation.simulated),
            "plots": [
                {"source": _data_uri(draw(result, evaluation.simulated)), "text": marked(text, evaluation.simulated)}
                for draw, text in _PLOTS.values()
            ],
        }
        for result in evaluation.protocols
    ]
    return environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        sections=sections,
        rules=RULES,
        simulated_warning=SIMULATED_WARNING,
        simulated_word=SIMULATED,
        incomplete_word=INCOMPLETE,
    )


def write_report(evaluation: Evaluation, folder: Path, stem: str = "metrics") -> tuple[Path, Path, Path]:
    """Writes `stem`.json, .md and .html into the folder, and makes it if necessary. Returns their paths."""
    texts = {
        "json": json.dumps(to_json(evaluation), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "md": to_markdown(evaluation),
        "html": to_html(evaluation),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"{stem}.{suffix}")
        write_whole(paths[-1], text.encode("utf-8", errors="backslashreplace"))
    return paths[0], paths[1], paths[2]


def _protocol_json(result: ProtocolResult, simulated: bool) -> dict[str, Any]:
    slides = [
        {
            "method": row.method,
            **{
                name: {"percent": rate.percent, "spread": rate.spread}
                for name, rate in (("apcer", row.apcer), ("bpcer", row.bpcer), ("acer", row.acer))
            },
        }
        for row in (published(result.protocol) if result.protocol else ())
    ]
    return {
        "protocol": result.protocol,
        "simulated": simulated,
        "resamples": result.resamples,
        "seed": result.seed,
        "complete": not result.missing,
        "without_score": _without_score(result.silent),
        "summary": _estimates(result.summary, result.silent),
        "slides": {"source": SOURCE, "data": "OULU-NPU", "rows": slides} if slides else None,
        "folds": [_fold_json(fold) for fold in result.folds],
    }


def _stress_json(stress: StressResult, simulated: bool) -> dict[str, Any]:
    """Rates of the stress instruments of a protocol, at the thresholds of its folds."""
    return {
        "protocol": stress.result.protocol,
        "simulated": simulated,
        "thresholds": {fold.name: fold.threshold for fold in stress.result.folds},
        "presentations": {fold.name: asdict(fold.test_counts) for fold in stress.result.folds},
        "apcer": {name: each and _estimate_json(each) for name, each in stress.apcer.items()},
        "bpcer": {name: each and _estimate_json(each) for name, each in stress.bpcer.items()},
    }


def _fold_json(fold: FoldResult) -> dict[str, Any]:
    return {
        "name": fold.name,
        "threshold": fold.threshold,
        "threshold_from": "given" if fold.given else "dev",
        "dev": fold.dev_counts and {"presentations": asdict(fold.dev_counts), **_estimates(fold.dev)},
        "test": {"presentations": asdict(fold.test_counts), **_estimates(fold.test, fold.silent)},
        "roc": {
            "threshold": _numbers(fold.curve.threshold),
            "apcer": _numbers(fold.curve.apcer),
            "bpcer": _numbers(fold.curve.bpcer),
        },
        "det": {
            "apcer_deviate": _numbers(fold.curve.det[0]),
            "bpcer_deviate": _numbers(fold.curve.det[1]),
        },
    }


def _without_score(silent: Silent) -> list[dict[str, Any]]:
    """The classes whose presentations are all unscored, in the whole test set and in its phones and sessions."""
    return [{"by": by or None, "value": value or None, "classes": list(names)} for (by, value), names in silent.items()]


def _estimates(estimates: Mapping[Key, Estimate], silent: Silent | None = None) -> dict[str, Any]:
    """`figures` of the whole set, and `slices` by column and value; null for instruments and kinds without a score."""
    found: dict[str, Any] = {"figures": {}, "slices": {}}
    for by in ("instrument", "kind"):
        for name in sorted(silent_values(silent or {}, by)):
            unknown = {"value": None, "low": None, "high": None, "spread": None, "complete": False}
            found["slices"].setdefault(by, {})[name] = {"apcer": unknown}
    for key, estimate in estimates.items():
        entry = _estimate_json(estimate)
        if key.by:
            found["slices"].setdefault(key.by, {}).setdefault(key.value, {})[key.figure] = entry
        else:
            found["figures"][key.figure] = entry
    return found


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    entry = {"value": estimate.value, "low": low, "high": high, "spread": estimate.spread}
    return entry | {"complete": not estimate.missing}


def _numbers(values: FloatArray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in np.asarray(values).tolist()]


def _grid_markdown(grid: Grid) -> str:
    lines = [f"## {_plain(grid.title)}", "", _row(grid.header), _row(("---",) + ("---:",) * (len(grid.header) - 1))]
    lines += [_row([_plain(text) for text in row]) for row in grid.rows]
    return "\n".join([*lines, "", _plain(grid.note)] if grid.note else lines)


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(text)}" for text in texts)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Escapes text for a cell or a line of Markdown."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\|`*_<[" else letter for letter in flat)


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
