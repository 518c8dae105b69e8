# SPDX-License-Identifier: Apache-2.0
"""The slides' tables with our results, from the results file, as text and as Markdown; and EER by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from textwrap import fill

from eulernet.ablation.plan import ABLATED_PROTOCOL, BY_TAG, FULL, LABEL_TITLES, VARIANTS
from eulernet.ablation.results import Row
from eulernet.datasets.oulu import FOLDS, PROTOCOLS
from eulernet.evaluation.published import SOURCE, Rate, published
from eulernet.evaluation.report_tables import ABSENT, SIMULATED, Grid, marked
from eulernet.learning.curve import History

Origin = tuple[str, str]
_WIDTH = 110


def by_origin(rows: Sequence[Row]) -> dict[Origin, list[Row]]:
    """Groups of comparable rows: one recipe and one data set each."""
    found: dict[Origin, list[Row]] = {}
    for row in rows:
        found.setdefault(row.origin, []).append(row)
    return found


@dataclass(frozen=True)
class Comparison:
    """Tables and findings from the rows of one recipe and one data set.

    Attributes:
        title: names the digests.
        grids: the slides' two tables with our results, if there are rows for them.
        findings: sentences about order and gaps.
    """

    title: str
    grids: tuple[Grid, ...]
    findings: tuple[str, ...]


def compare(rows: Sequence[Row]) -> Comparison:
    """The comparison for rows of one origin."""
    simulated = rows[0].simulated
    ablated = [row for row in rows if row.protocol == ABLATED_PROTOCOL]
    grids = []
    if ablated:
        grids.append(_variants(ablated, simulated))
    grids += [_protocols([row for row in rows if row.variant == tag], tag, simulated) for tag in _folded(rows)]
    recipe, data = rows[0].origin
    title = marked(f"Ablation, recipe {recipe}, data set {data}", simulated)
    return Comparison(title, tuple(grids), tuple(_findings(ablated)))


def curves(rows: Sequence[Row]) -> dict[str, History]:
    """Dev EER by epoch of each variant, the mean over its seeds; the argument of draw_curves."""
    found: dict[str, History] = {}
    for variant in VARIANTS:
        runs = [r.dev_eer_by_epoch for r in rows if r.variant == variant.tag and r.protocol == ABLATED_PROTOCOL]
        if runs:
            means = [fmean(values) for values in zip(*runs, strict=True)]
            title = f"{variant.title} ({_count(len(runs), 'seed')})"
            found[title] = [{"epoch": epoch, "dev_eer": value} for epoch, value in enumerate(means, 1)]
    return found


def text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    blocks = [comparison.title]
    for grid in comparison.grids:
        widths = [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]
        lines = [grid.title, _line(grid.header, widths), "  ".join("─" * width for width in widths)]
        blocks.append("\n".join([*lines, *(_line(row, widths) for row in grid.rows), "", fill(grid.note, _WIDTH)]))
    return "\n\n".join([*blocks, "\n".join(comparison.findings)]).rstrip()


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The comparisons for a file."""
    blocks = []
    for each in comparisons:
        blocks.append(f"# {each.title}")
        for grid in each.grids:
            lines = [grid.header, tuple("---" for _ in grid.header), *grid.rows]
            table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
            blocks += [f"## {grid.title}", table, grid.note]
        if each.findings:
            blocks.append("\n".join(f"- {finding}" for finding in each.findings))
    return "\n\n".join(blocks) + "\n"


def _variants(rows: Sequence[Row], simulated: bool) -> Grid:
    acers = ("Slides dev", "Slides test", "Slides gap", "Ours dev", "Ours test", "Ours gap")
    header = ("Tag", "Label", "FCAM", "Pyramid", *acers, "Seeds")
    lines: list[tuple[str, ...]] = []
    for variant in VARIANTS:
        mine = [row for row in rows if row.variant == variant.tag]
        full = variant.tag == FULL
        gap = ABSENT if full else f"{variant.slides_test - BY_TAG[FULL].slides_test:+.2f}"
        our_gap = ABSENT if full else _signed(list(_gaps(rows, variant.tag).values()))
        switches = ("yes" if there else "no" for there in (variant.fcam, variant.pyramid))
        slides = (f"{variant.slides_dev:.2f}", f"{variant.slides_test:.2f}", gap)
        ours = (_spread([row.dev_acer for row in mine]), _spread([row.acer for row in mine]), our_gap)
        lines.append((variant.tag, LABEL_TITLES[variant.label], *switches, *slides, *ours, str(len(mine))))
    note = (
        "A presentation is a video. The threshold is at equal error rates of the dev scores; ACER is of the highest "
        "instrument, mean ± sample standard deviation over seeds. Gap: test ACER minus the full model's, per seed. "
        "The slides name neither the data of their table nor the number of runs."
    )
    if simulated:
        note += " Our data is simulated: compare order and signs with the slides', not values."
    title = marked(f"ACER (%) of the slides' variants; ours on protocol {ABLATED_PROTOCOL}", simulated)
    return Grid(title, header, tuple(lines), note)


def _protocols(rows: Sequence[Row], tag: str, simulated: bool) -> Grid:
    """The table for one variant. A fold with several seeds has the weight of one, with the mean over its seeds."""
    header = ("Protocol", "Method", "APCER", "BPCER", "ACER", "ACER, highest kind", "Folds")
    lines: list[tuple[str, ...]] = []
    for protocol in PROTOCOLS:
        folds = [[r for r in rows if (r.protocol, r.fold) == (protocol, fold)] for fold in (0, *FOLDS)]
        folds = [fold for fold in folds if fold]
        for row in published(protocol) if folds else ():
            rates = (_rate(row.apcer), _rate(row.bpcer), ABSENT, _rate(row.acer))
            lines.append((str(protocol), f"{row.method} (slides)", *rates, ABSENT))
        if folds:
            means = [_spread([fmean(_rates(fold, name)) for fold in folds]) for name in _FOLD_RATES]
            wanted = len(FOLDS) if protocol in (3, 4) else 1
            method = f"ours, {tag}{f', {SIMULATED}' if simulated else ''}"
            lines.append((str(protocol), method, *means, f"{len(folds)} of {wanted}"))
    note = (
        "Mean ± sample standard deviation over folds; a fold with several seeds enters with their mean. Ours: APCER "
        "and ACER of the highest instrument, and of the highest kind (print, replay), probably the slides' definition. "
        f"Slides: {SOURCE}."
    )
    if simulated:
        note += " Our data is simulated: do not rank our row among the slides'."
    title = marked(f"Rates (%) on OULU-NPU's protocols; ours is {BY_TAG[tag].title}", simulated)
    return Grid(title, header, tuple(lines), note)


_FOLD_RATES = ("apcer", "bpcer", "acer", "acer_kind")


def _rates(rows: Sequence[Row], name: str) -> list[float]:
    return [float(getattr(row, name)) for row in rows]


def _folded(rows: Sequence[Row]) -> list[str]:
    """Variants with runs on other protocols than the ablation's."""
    there = {row.variant for row in rows if row.protocol != ABLATED_PROTOCOL}
    return [variant.tag for variant in reversed(VARIANTS) if variant.tag in there]


def _findings(rows: Sequence[Row]) -> list[str]:
    """Findings from rows of the ablation's protocol, over the seeds that all variants have."""
    seeds = {v.tag: {row.seed for row in rows if row.variant == v.tag} for v in VARIANTS}
    common = set.intersection(*seeds.values())
    if not common:
        lacking = ", ".join(tag for tag, found in seeds.items() if not found) or "some"
        return [f"No seed has all six variants yet (missing: {lacking}): no order."] if rows else []
    acer = {v.tag: fmean(100 * r.acer for r in rows if r.variant == v.tag and r.seed in common) for v in VARIANTS}
    below = [tag for tag in acer if tag != FULL and acer[FULL] < acer[tag]]
    others = [tag for tag in acer if tag not in (FULL, *below)]
    parts = [f"lower than {', '.join(below)}"] if below else []
    parts += [f"not lower than {', '.join(others)}"] if others else []
    full = BY_TAG[FULL]
    pairs = [
        ("adding FCAM (C4 to full)", "C4"),
        ("adding the pyramid (C3 to full)", "C3"),
        ("location map instead of depth map (C5 to full)", "C5"),
        ("location map instead of binary mask (C1 to full)", "C1"),
    ]
    return [
        f"Test ACER from low to high, over the {_count(len(common), 'seed')} that all six variants have:",
        f"slides: {_order({v.tag: v.slides_test for v in VARIANTS})}",
        f"ours: {_order(acer)}",
        f"Our full model's mean test ACER: {'; '.join(parts)}.",
        *(
            f"Test ACER by {what}: slides {full.slides_test - BY_TAG[tag].slides_test:+.2f}, "
            f"ours {acer[FULL] - acer[tag]:+.2f} points."
            for what, tag in pairs
        ),
    ]


def _gaps(rows: Sequence[Row], tag: str) -> dict[int, float]:
    """By common seed, a variant's test ACER minus the full model's."""
    full, mine = ({row.seed: row.acer for row in rows if row.variant == each} for each in (FULL, tag))
    return {seed: mine[seed] - full[seed] for seed in sorted(full.keys() & mine.keys())}


def _order(acer: Mapping[str, float]) -> str:
    """`full 1.88 < C5 2.06 = …`; values are equal if their printed digits are."""
    printed = [(f"{value:.2f}", tag) for tag, value in sorted(acer.items(), key=lambda item: item[1])]
    parts = [f"{printed[0][1]} {printed[0][0]}"]
    for (before, _), (value, tag) in pairwise(printed):
        parts.append(f"{'=' if value == before else '<'} {tag} {value}")
    return " ".join(parts)


def _spread(shares: Sequence[float]) -> str:
    """Mean ± sample standard deviation in percent."""
    if not shares:
        return ABSENT
    spread = f" ± {100 * stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * fmean(shares):.2f}{spread}"


def _signed(shares: Sequence[float]) -> str:
    return ABSENT if not shares else f"{'+' if fmean(shares) >= 0 else ''}{_spread(shares)}"


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f}" if rate.spread is None else f"{rate.percent:.1f} ± {rate.spread:.1f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
