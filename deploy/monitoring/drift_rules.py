# SPDX-License-Identifier: Apache-2.0
"""Prometheus rules that compare scores and STATUS with a reference, by the population stability index (PSI).

PSI = sum over bins of (a - r) ln(a / r), where a is a bin's share of what was seen and r its share of the reference
(Siddiqi, Credit Risk Scorecards, 2006). Usual limits: 0.1 a small change, 0.25 a large one.

    python -m deploy.monitoring.drift_rules training/weights/drift_reference.json \\
        --out deploy/monitoring/drift_rules.yaml
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.monitoring.drift_reference import DriftReference, DriftReferenceError
from eulernet_core.whole_files import write_whole_text
from eulernet_serving.metric_catalog import FRAMES, LIVENESS, LIVENESS_BUCKETS, MODEL_INFO

OTHER = "other"  # the bin of all rare statuses
KEPT = "namespace, job, model"
CANARY_JOB, STABLE_JOB = "(.+)-canary-replicas", "$1-replicas"  # the Services of the chart
Rule = dict[str, Any]


@dataclass(frozen=True)
class DriftSettings:
    """Choices of the rules.

    Attributes:
        window: over which shares are taken, as Prometheus writes durations.
        least_share: of the reference in a bin of scores; neighbouring buckets are joined until they have it.
        rare_share: statuses below it in the reference form one bin.
        floor: shares below it count as it, since the logarithm of 0 is infinite.
        fewest: scores or frames in the window; without them there is no PSI.
        limit: PSI that raises an alert.
        after: how long PSI must be above it.
        interval: between two evaluations.
    """

    window: str = "6h"
    least_share: float = 0.05
    rare_share: float = 0.01
    floor: float = 0.001
    fewest: int = 500
    limit: float = 0.25
    after: str = "30m"
    interval: str = "1m"


def score_bins(counts: Sequence[int], least_share: float) -> list[tuple[float, float, float]]:
    """Lower bound, upper bound and share of each bin: buckets joined from below until they have the least share."""
    total = sum(counts)
    bins: list[tuple[float, float, float]] = []
    low, held = 0.0, 0
    for upper, count in zip(LIVENESS_BUCKETS, counts, strict=True):
        held += count
        if held >= least_share * total:
            bins.append((low, upper, held / total))
            low, held = upper, 0
    if low < LIVENESS_BUCKETS[-1]:  # what is left at the top joins the bin below
        lower, _, share = bins.pop()
        bins.append((lower, LIVENESS_BUCKETS[-1], share + held / total))
    return bins


def status_bins(counts: Mapping[str, int], settings: DriftSettings) -> dict[str, float]:
    """Share of each status, the rare ones together under OTHER."""
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items() if count >= settings.rare_share * total}
    return {**shares, OTHER: max(settings.floor, 1 - sum(shares.values()))}


def drift_rules(reference: DriftReference, settings: DriftSettings | None = None) -> dict[str, Any]:
    """The rule groups, as Prometheus reads them from YAML."""
    chosen = settings or DriftSettings()
    info = {"sha256": reference.sha256, "weights": reference.weights, "origin": reference.origin}
    constants: list[Rule] = [_constant("eulernet:drift_reference:info", 1, info)]
    shares: list[Rule] = []
    for model, counts in reference.liveness.items():
        for low, high, share in score_bins(counts, chosen.least_share):
            labels = {"model": model, "bin": f"{low:g}-{high:g}"}
            constants.append(_constant("eulernet:liveness:reference", share, labels))
            shares.append(
                _record(f"eulernet:liveness:share{chosen.window}", _score_share(model, low, high, chosen), labels)
            )
    for model, seen in reference.status.items():
        bins = status_bins(seen, chosen)
        usual = "|".join(name for name in bins if name != OTHER)
        for status, share in bins.items():
            labels = {"model": model, "bin": status}
            constants.append(_constant("eulernet:status:reference", share, labels))
            named = f'status!~"{usual}"' if status == OTHER else f'status="{status}"'
            shares.append(_record(f"eulernet:status:share{chosen.window}", _frame_share(model, named, chosen), labels))
    return {
        "groups": [
            {"name": "eulernet-drift-shares", "interval": chosen.interval, "rules": [*constants, *shares]},
            {"name": "eulernet-drift", "interval": chosen.interval, "rules": [*_indices(chosen), *_alerts(chosen)]},
        ]
    }


def rules_text(reference: DriftReference, settings: DriftSettings | None = None) -> str:
    """The file of rules."""
    head = (
        "# SPDX-License-Identifier: Apache-2.0\n"
        f"# Written by deploy/monitoring/drift_rules.py from the reference of the weights {reference.sha256}.\n"
        "# docs/rollout.md explains the rules.\n"
    )
    return head + yaml.safe_dump(drift_rules(reference, settings), sort_keys=False, width=118, allow_unicode=True)


def _constant(name: str, value: float, labels: Mapping[str, str]) -> Rule:
    return {"record": name, "expr": f"vector({value:.6g})", "labels": dict(labels)}


def _record(name: str, expression: str, labels: Mapping[str, str] | None = None) -> Rule:
    return {"record": name, "expr": expression, **({"labels": dict(labels)} if labels else {})}


def _increase(name: str, selector: str, window: str) -> str:
    return f"sum by ({KEPT}) (increase({name}{{{selector}}}[{window}]))"


def _score_share(model: str, low: float, high: float, settings: DriftSettings) -> str:
    """Share of the scores above `low` and up to `high`; the highest bin needs no bound, whatever its label's form."""
    bounds = [f"{low:g}"] * bool(low) + [f"{high:g}" if high < LIVENESS_BUCKETS[-1] else "+Inf"]
    selectors = [f'model="{model}",le="{bound}"' for bound in bounds]
    *below, part = (_increase(f"{LIVENESS.name}_bucket", each, settings.window) for each in selectors)
    if below:
        part = f"({part} - {below[0]})"
    whole = _increase(f"{LIVENESS.name}_count", f'model="{model}"', settings.window)
    return f"{part} / {whole}"


def _frame_share(model: str, status: str, settings: DriftSettings) -> str:
    of_model = f'model="{model}"'
    part = _increase(FRAMES.name, f"{of_model},{status}", settings.window)
    return f"{part} / {_increase(FRAMES.name, of_model, settings.window)}"


def _psi(seen: str, expected: str, joined: str, floor: float) -> str:
    """PSI of `seen` to `expected`, which are shares by bin; `joined`: the labels that match them."""
    share, other = (f"clamp_min({each}, {floor:g})" for each in (seen, expected))
    match = f"on ({joined}) group_left ()"
    return f"sum by ({KEPT}) (({share} - {match} {other}) * ln({share} / {match} {other}))"


def _as_stable(expression: str) -> str:
    """The canary's series under the name of its stable job."""
    return f'label_replace({expression}, "job", "{STABLE_JOB}", "job", "{CANARY_JOB}")'


def _indices(settings: DriftSettings) -> list[Rule]:
    """PSI to the reference, and PSI of a canary to its stable version. Neither exists without enough scores."""
    window, rules = settings.window, []
    for what, counter in (("liveness", f"{LIVENESS.name}_count"), ("status", FRAMES.name)):
        shares, reference = f"eulernet:{what}:share{window}", f"eulernet:{what}:reference"
        psi = _psi(shares, reference, "model, bin", settings.floor)
        enough = f"{_increase(counter, '', window)} >= {settings.fewest}"
        rules.append(_record(f"eulernet:{what}:psi{window}", f"{psi} and on ({KEPT}) ({enough})"))
        of_canary = f'job=~"{CANARY_JOB}"'
        stable, canary = f'{shares}{{job!~"{CANARY_JOB}"}}', _as_stable(f"{shares}{{{of_canary}}}")
        psi = _psi(canary, stable, f"{KEPT}, bin", settings.floor)
        enough = f"{_as_stable(_increase(counter, of_canary, window))} >= {settings.fewest}"
        rules.append(_record(f"eulernet:{what}:canary_psi{window}", f"{psi} and on ({KEPT}) ({enough})"))
    return rules


def _alerts(settings: DriftSettings) -> list[Rule]:
    texts = {
        "EulerNetLivenessDrifts": (
            f"eulernet:liveness:psi{settings.window}",
            "The scores of {{ $labels.model }} differ from the reference (PSI {{ $value | humanize }}).",
            "Other people, cameras or attacks, or a fault before the server. Compare the shares of the bins.",
        ),
        "EulerNetStatusDrifts": (
            f"eulernet:status:psi{settings.window}",
            "The STATUS of the frames of {{ $labels.model }} differs from the reference (PSI {{ $value | humanize }}).",
            "More frames without a face, undecodable or degraded than usual, or fewer. Look at the senders.",
        ),
        "EulerNetCanaryScoresDiffer": (
            f"eulernet:liveness:canary_psi{settings.window}",
            "The canary of {{ $labels.job }} gives other scores for {{ $labels.model }} (PSI {{ $value | humanize }}).",
            "Both versions get samples of the same traffic. If this change is not intended, set canary.weight to 0.",
        ),
        "EulerNetCanaryStatusDiffers": (
            f"eulernet:status:canary_psi{settings.window}",
            "The canary of {{ $labels.job }} gives other STATUS for {{ $labels.model }} (PSI {{ $value | humanize }}).",
            "Both versions get samples of the same traffic. If this change is not intended, set canary.weight to 0.",
        ),
    }
    alerts = [
        _alert(name, f"{record} > {settings.limit:g}", settings.after, "warning", summary, description)
        for name, (record, summary, description) in texts.items()
    ]
    unknown = f"count by (namespace, job, sha256) ({MODEL_INFO.name}) unless on (sha256) eulernet:drift_reference:info"
    summary = "{{ $labels.job }} serves the weights {{ $labels.sha256 }}, and the drift reference is of others."
    description = "Expected of a canary. After a change of the weights make a new reference and its rules."
    return [*alerts, _alert("EulerNetDriftReferenceOfOtherWeights", unknown, "1h", "info", summary, description)]


def _alert(name: str, expression: str, after: str, severity: str, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        "for": after,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


@click.command()
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file of rules.")
@click.option("--window", default=DriftSettings.window, show_default=True, help="Time over which shares are taken.")
@click.option("--limit", default=DriftSettings.limit, show_default=True, help="PSI that raises an alert.")
@click.option("--fewest", default=DriftSettings.fewest, show_default=True, help="Scores in the window for a PSI.")
def main(reference: Path, out: Path, window: str, limit: float, fewest: int) -> None:
    """Write Prometheus rules for drift from the reference."""
    try:
        text = rules_text(DriftReference.read(reference), DriftSettings(window=window, limit=limit, fewest=fewest))
        write_whole_text(out, text)
    except (DriftReferenceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"written: {out}")


if __name__ == "__main__":
    main()
