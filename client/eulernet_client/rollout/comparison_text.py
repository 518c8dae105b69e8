# SPDX-License-Identifier: Apache-2.0
"""A comparison of two versions as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from eulernet_client.rollout.score_pairs import Pair
from eulernet_client.rollout.version_comparison import RATES, Comparison
from eulernet_client.terminal_output import shown
from eulernet_core.attack_detection_metrics import FIGURES

SHOWN = 10  # sources that are named


def comparison_lines(result: Comparison) -> Iterator[str]:
    """The whole comparison."""
    changed = len(result.changed)
    yield f"{result.sources:,} sources; another verdict: {changed:,} ({result.changed_percent:.2f} %)"
    for (stable, candidate), count in result.changes.items():
        yield f"  {stable} -> {candidate}: {count:,}"
    for pair in result.changed[:SHOWN]:
        yield f"    {shown(pair.name)}: {_scores(pair)}"
    if changed > SHOWN:
        yield f"    and {changed - SHOWN:,} more; --json names all"
    if result.largest is not None and result.mean is not None:
        yield f"difference of liveness: largest {result.largest:.4f}, mean {result.mean:.4f}"
    yield from _rate_lines(result)
    if result.latency is not None:
        for name, (stable_s, candidate_s) in result.latency.items():
            yield f"latency, {name.removesuffix('_s')}: {1000 * stable_s:.1f} -> {1000 * candidate_s:.1f} ms"


def _rate_lines(result: Comparison) -> Iterator[str]:
    rates = result.rates
    if rates is None:
        return
    yield f"labelled and scored by both: {rates.bona_fide:,} bona fide, {rates.attacks:,} attacks"
    yield f"  judged correctly only now: {rates.mended:,}; no longer: {rates.spoilt:,}"
    for name in RATES:
        before, after = 100 * rates.stable[name], 100 * rates.candidate[name]
        yield f"  {FIGURES[name] + ':':<34}{before:6.2f} -> {after:6.2f} % ({after - before:+.2f} points)"


def _scores(pair: Pair) -> str:
    texts = [
        (each.error or "no score") if each.liveness is None else f"{each.liveness:.3f}"
        for each in (pair.stable, pair.candidate)
    ]
    return " -> ".join(texts)
