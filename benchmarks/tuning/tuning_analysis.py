# SPDX-License-Identifier: Apache-2.0
"""Effects of the changes: ratios of changed to unchanged, and the noise of two equal servers. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from eulernet_loadtest.plan import Mode

FIGURES = {"throughput_fps": "higher", "p99_together_ms": "lower", "p50_alone_ms": "lower", "p99_alone_ms": "lower"}
LEAST_NOISE = 0.03  # lower limit: two rounds can't resolve smaller effects
MODES = tuple(mode.value for mode in Mode)


@dataclass(frozen=True)
class Effect:
    """Effect on one value of one mode. `ratio`: changed to unchanged, median of the rounds; `verdict`: better, worse or
    same."""

    ratio: float
    lowest: float
    highest: float
    verdict: str

    @property
    def percent(self) -> str:
        """The change as text: +12 %; in brackets if it can't be distinguished from noise."""
        text = f"{100 * (self.ratio - 1):+.0f} %"
        return f"({text})" if self.verdict == "same" else text


def ratios(records: list[dict[str, Any]], mode: str, figure: str) -> list[float]:
    """Changed to unchanged for each round with both values."""
    pairs = [(each["changed"][figure], each["unchanged"][figure]) for each in records if each["mode"] == mode]
    return [changed / unchanged for changed, unchanged in pairs if changed and unchanged]


def noise(control: list[dict[str, Any]], mode: str, figure: str) -> float:
    """Largest difference between two equal servers, as a share: 0.05 for a ratio of 0.95 or 1.05."""
    return max([LEAST_NOISE, *(abs(ratio - 1) for ratio in ratios(control, mode, figure))])


def verdict(values: list[float], figure: str, least: float) -> str:
    """`better` or `worse` if all rounds are on one side of 1 and their median differs from 1 by more than `least`."""
    ratio = median(values)
    one_side = all(value > 1 for value in values) or all(value < 1 for value in values)
    if abs(ratio - 1) <= least or not one_side:
        return "same"
    return "better" if (ratio > 1) == (FIGURES[figure] == "higher") else "worse"


def effects(point: dict[str, Any], control: list[dict[str, Any]]) -> dict[str, dict[str, Effect]]:
    """Effects by mode and value, as far as measured."""
    result: dict[str, dict[str, Effect]] = {}
    for mode in MODES:
        for figure in FIGURES:
            values = ratios(point.get("records", []), mode, figure)
            if values:
                least = noise(control, mode, figure)
                effect = Effect(median(values), min(values), max(values), verdict(values, figure, least))
                result.setdefault(mode, {})[figure] = effect
    return result


def view(results: dict[str, Any]) -> dict[str, Any]:
    """The content of the page, except for the machine."""
    control = results["points"][0]["records"]
    rows = []
    for point in results["points"][1:]:
        before = sorted(set(point["before"].values()))
        rows.append(
            point
            | {
                "from": ", ".join(value or "none" for value in before),
                "to": point["value"] or "none",
                "effects": effects(point, control),
                "not_ok": sum(record["changed"]["not_ok"] for record in point.get("records", [])),
            }
        )
    return {
        "rows": rows,
        "noise": {mode: {figure: noise(control, mode, figure) for figure in FIGURES} for mode in MODES},
        "advice": {
            (goal, mode): advice(rows, mode, figure, results["stages"][mode])
            for goal, figure in (("throughput", "throughput_fps"), ("latency", "p50_alone_ms"))
            for mode in MODES
        },
        "baseline": {mode: baseline(results["points"], mode) for mode in MODES},
        "other_cores": mean(
            record[server]["other_cores"]
            for point in results["points"]
            for record in point.get("records", [])
            for server in ("changed", "unchanged")
        ),
    }


def advice(rows: list[dict[str, Any]], mode: str, figure: str, stages: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Changes that improved a value of a mode, and changes that worsened it, the largest effect first."""
    found: dict[str, list[dict[str, Any]]] = {"better": [], "worse": []}
    for row in rows:
        effect = row["effects"].get(mode, {}).get(figure)
        if effect is not None and effect.verdict in found:
            models = [model for model in row["models"] if model in stages]
            found[effect.verdict].append({"row": row, "effect": effect, "models": models})
    for each in found.values():
        each.sort(key=lambda item: abs(item["effect"].ratio - 1), reverse=True)
    return found


def baseline(points: list[dict[str, Any]], mode: str) -> dict[str, float | None]:
    """The unchanged server's values: medians of all measurements."""
    records = [record["unchanged"] for point in points for record in point.get("records", []) if record["mode"] == mode]
    known = {figure: [record[figure] for record in records if record[figure] is not None] for figure in FIGURES}
    return {figure: median(values) if values else None for figure, values in known.items()}
