"""The slides' tables beside ours, from the rows of the results file, as text and as Markdown; and EER by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from textwrap import fill

from eulernet.ablation.plan import ABLATED_PROTOCOL, BY_TAG, FULL, LABEL_TITLES, VARIANTS
from eulernet.ablation.results import Row
from eulernet.datasets.oulu import FOLDS, PROTOCOLS
from eulernet.evaluation.layout import ABSENT, SIMULATED, Grid, marked
from eulernet.evaluation.published import SOURCE, Rate, published
from eulernet.learning.curve import History

Origin = tuple[str, str]
_WIDTH = 110


def by_origin(rows: Sequence[Row]) -> dict[Origin, list[Row]]:
    """Rows that can be compared: of one recipe and one data set."""
    found: dict[Origin, list[Row]] = {}
    for row in rows:
        found.setdefault(row.origin, []).append(row)
    return found


@dataclass(frozen=True)
class Comparison:
    """All that there is to say of the rows of one recipe and one data set.

    Attributes:
        title: with the digests.
        grids: the slides' two tables beside ours, as far as there are rows.
        findings: a sentence each: ordering and gaps as they came out.
    """

    title: str
    grids: tuple[Grid, ...]
    findings: tuple[str, ...]


def compare(rows: Sequence[Row]) -> Comparison:
    """Of rows of one origin."""
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
    """Dev EER by epoch of each variant of the ablation, a mean over its seeds; what draw_curves takes."""
    found: dict[str, History] = {}
    for variant in VARIANTS:
        runs = [r.dev_eer_by_epoch for r in rows if r.variant == variant.tag and r.protocol == ABLATED_PROTOCOL]
        if runs:
            means = [fmean(values) for values in zip(*runs, strict=True)]
            title = f"{variant.title} ({_count(len(runs), 'seed')})"
            found[title] = [{"epoch": epoch, "dev_eer": value} for epoch, value in enumerate(means, 1)]
    return found


def text(comparison: Comparison) -> str:
    """For a terminal."""
    blocks = [comparison.title]
    for grid in comparison.grids:
        widths = [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]
        lines = [grid.title, _line(grid.header, widths), "  ".join("─" * width for width in widths)]
        blocks.append("\n".join([*lines, *(_line(row, widths) for row in grid.rows), "", fill(grid.note, _WIDTH)]))
    return "\n\n".join([*blocks, "\n".join(comparison.findings)]).rstrip()


def markdown(comparisons: Sequence[Comparison]) -> str:
    """For a file."""
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
        "A presentation is a video, threshold where the dev scores have equal error rates, highest "
        "instrument; mean ± sample standard deviation over seeds. Gap: test ACER less the full model's, seed by seed. "
        "The slides don't say what data their table is of, nor over how many runs."
    )
    if simulated:
        note += " Ours is simulated: levels can't be compared with the slides', ordering and signs can."
    title = marked(f"ACER (%) of the slides' variants; ours on protocol {ABLATED_PROTOCOL}", simulated)
    return Grid(title, header, tuple(lines), note)


def _protocols(rows: Sequence[Row], tag: str, simulated: bool) -> Grid:
    """Rows of one variant. Of a fold with several seeds the mean over seeds counts once."""
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
        "Mean ± sample standard deviation over folds; a fold with several seeds counts with their mean. Ours: APCER "
        "and ACER by the highest instrument, and by the highest kind (print, replay), as the slides seem to count. "
        f"Slides: {SOURCE}."
    )
    if simulated:
        note += " Ours is simulated and can't be ranked among the slides' rows."
    title = marked(f"Rates (%) on OULU-NPU's protocols; ours is {BY_TAG[tag].title}", simulated)
    return Grid(title, header, tuple(lines), note)


_FOLD_RATES = ("apcer", "bpcer", "acer", "acer_kind")


def _rates(rows: Sequence[Row], name: str) -> list[float]:
    return [float(getattr(row, name)) for row in rows]


def _folded(rows: Sequence[Row]) -> list[str]:
    """Variants that were trained on another protocol than the ablation's."""
    there = {row.variant for row in rows if row.protocol != ABLATED_PROTOCOL}
    return [variant.tag for variant in reversed(VARIANTS) if variant.tag in there]


def _findings(rows: Sequence[Row]) -> list[str]:
    """Of rows of the ablation's protocol, over the seeds that all variants have."""
    seeds = {v.tag: {row.seed for row in rows if row.variant == v.tag} for v in VARIANTS}
    common = set.intersection(*seeds.values())
    if not common:
        lacking = ", ".join(tag for tag, found in seeds.items() if not found) or "some"
        return [f"No seed has all six variants yet (none of {lacking}): no ordering."] if rows else []
    acer = {v.tag: fmean(100 * r.acer for r in rows if r.variant == v.tag and r.seed in common) for v in VARIANTS}
    below = [tag for tag in acer if tag != FULL and acer[FULL] < acer[tag]]
    others = [tag for tag in acer if tag not in (FULL, *below)]
    verdict = "below that of each of the others" if not others else f"not below that of {', '.join(others)}"
    if others and below:
        verdict += f"; below that of {', '.join(below)}"
    full = BY_TAG[FULL]
    pairs = [
        ("adding FCAM (C4 to full)", "C4"),
        ("adding the pyramid (C3 to full)", "C3"),
        ("location map for depth map (C5 to full)", "C5"),
        ("location map for binary mask (C1 to full)", "C1"),
    ]
    return [
        f"Over {_count(len(common), 'seed')} that all six variants have, test ACER from low to high:",
        f"slides: {_order({v.tag: v.slides_test for v in VARIANTS})}",
        f"ours: {_order(acer)}",
        f"Our full model's mean test ACER is {verdict}.",
        *(
            f"Test ACER by {what}: slides {full.slides_test - BY_TAG[tag].slides_test:+.2f}, "
            f"ours {acer[FULL] - acer[tag]:+.2f} points."
            for what, tag in pairs
        ),
    ]


def _gaps(rows: Sequence[Row], tag: str) -> dict[int, float]:
    """By seed, the test ACER of a variant less that of the full model; seeds that both have."""
    full, mine = ({row.seed: row.acer for row in rows if row.variant == each} for each in (FULL, tag))
    return {seed: mine[seed] - full[seed] for seed in sorted(full.keys() & mine.keys())}


def _order(acer: Mapping[str, float]) -> str:
    """`full 1.88 < C5 2.06 = …`; equal is what is printed alike."""
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
