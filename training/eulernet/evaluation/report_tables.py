# SPDX-License-Identifier: Apache-2.0
"""The tables of a report as text, for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.completeness import INCOMPLETE, Key, silent_values
from eulernet.evaluation.protocols import Counts, Estimate, ProtocolResult
from eulernet.evaluation.published import OURS, SOURCE, Rate, published
from eulernet_core.attack_detection_metrics import FEW_PRESENTATIONS, FIGURES

SIMULATED = "simulated"
ABSENT = "–"
RULES = (
    "Liveness is higher for bona fide. The verdict is live if the liveness is at least the threshold.",
    "Threshold: the dev scores' operating point with the smallest |APCER − BPCER|; of equal ones the one with the "
    "smaller sum, then the higher threshold. This APCER is that of the attacks pooled, as in most papers; where the "
    f"facts name equal errors, it is the highest of the instruments with at least {FEW_PRESENTATIONS} presentations. "
    "The threshold is the middle between two neighbouring dev scores. A threshold that was given instead is called so.",
    "APCER: share of an instrument's attacks that are accepted. Highest: of the instruments (ISO/IEC 30107-3), or of "
    "the kinds: print1 and print2 are one kind, print, as in the classes of OULU-NPU's lists.",
    "ACER: mean of the highest APCER and BPCER. HTER: mean of the pooled APCER and BPCER. Papers compare these two; "
    "the standard reports APCER and BPCER separately.",
    "Presentations without a score (for example, no face found) are in none of these rates. A warning gives their "
    "share: BPNRR of the bona fide, APNRR of an instrument, the non-response rates of ISO/IEC 30107-3. If no "
    "presentation of an instrument has a score, its APCER is unknown, and every figure that should include it is "
    f"{INCOMPLETE}.",
    "BPCER10, 20, 100: the lowest BPCER on the test scores with every instrument's APCER at most 10 %, 5 %, 1 %.",
    "EER: attacks pooled, interpolated linearly between the two nearest operating points. AUC: a tie counts half.",
    "Intervals: 95 %, percentile bootstrap over test subjects with all their videos, at a fixed threshold. An interval "
    "from 0 to 0 means no error in this sample, not a rate of zero. The interval of a maximum is biased upwards.",
    "Several folds: mean ± sample standard deviation (n − 1) over folds; all folds share the bootstrap's draws.",
)


@dataclass(frozen=True)
class Grid:
    """A table; its first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def marked(title: str, simulated: bool) -> str:
    """The title, with a mark if the data is simulated."""
    return f"{title} ({SIMULATED} data)" if simulated else title


def value_text(key: Key, value: float) -> str:
    """A share in percent; AUC as a number."""
    return f"{value:.4f}" if key.figure == "auc" else f"{100 * value:.2f} %"


def interval_text(key: Key, estimate: Estimate) -> str:
    """`low to high`."""
    if estimate.interval is None:
        return ABSENT
    low, high = estimate.interval
    return f"{low:.4f} to {high:.4f}" if key.figure == "auc" else f"{100 * low:.2f} to {100 * high:.2f} %"


def spread_text(key: Key, estimate: Estimate) -> str:
    """`± spread`, empty for one fold."""
    if estimate.spread is None:
        return ""
    return f"± {estimate.spread:.4f}" if key.figure == "auc" else f"± {100 * estimate.spread:.2f}"


def cell(estimates: Mapping[Key, Estimate], key: Key, with_interval: bool = False) -> str:
    """A figure with its spread, if it has one, and with its interval if `with_interval` is set. It says so if it is not
    complete."""
    estimate = estimates.get(key)
    if estimate is None:
        return ABSENT
    text = " ".join(filter(None, (value_text(key, estimate.value), spread_text(key, estimate))))
    if estimate.missing:
        text += f", {INCOMPLETE}"
    if with_interval and estimate.interval:
        text += f" ({interval_text(key, estimate)})"
    return text


def overview(protocols: Sequence[ProtocolResult], simulated: bool) -> Grid:
    """The table with a row per protocol."""
    names = ("apcer_max", "bpcer", "acer", "acer_kind", "auc")
    header = ("", "APCER", "BPCER", "ACER", "ACER, kinds", "AUC", "slides' ACER")
    rows = tuple(
        (each.title, *(cell(each.summary, Key(name)) for name in names), _slides_acer(each)) for each in protocols
    )
    note = " ".join(
        ("Slides' ACER: of EulerNet, on OULU-NPU.", *dict.fromkeys(map(incomplete_note, protocols)))
    ).rstrip()
    return Grid(marked("Overview", simulated), header, rows, note)


def grids(result: ProtocolResult, simulated: bool) -> list[Grid]:
    """The tables of one protocol."""
    tables = [_figures(result), _published(result, simulated), _folds(result), _instruments(result)]
    tables += [_slices(result, by) for by in ("phone", "session")]
    return [
        Grid(marked(f"{result.title}: {table.title}", simulated), table.header, table.rows, table.note)
        for table in tables
        if table.rows
    ]


def slice_values(result: ProtocolResult, by: str) -> list[str]:
    """The instruments, phones or sessions in the test set, scored or not, in order."""
    values = {key.value for key in result.summary if key.by == by} | silent_values(result.silent, by)
    return sorted(values, key=lambda value: (int(value) if by in ("phone", "session") else 0, value))


def incomplete_note(result: ProtocolResult) -> str:
    """Which instruments the figures lack; empty if they are complete."""
    names = ", ".join(result.missing)
    return f"{INCOMPLETE.capitalize()}: no presentation of {names} has a score." if names else ""


def _slides_acer(result: ProtocolResult) -> str:
    rows = published(result.protocol) if result.protocol else ()
    return next((_rate(row.acer) for row in rows if row.method == OURS), ABSENT)


def _figures(result: ProtocolResult) -> Grid:
    several = len(result.folds) > 1
    rows = []
    for name, title in FIGURES.items():
        key, estimate = Key(name), result.summary[Key(name)]
        spread = (spread_text(key, estimate),) if several else ()
        mark = f", {INCOMPLETE}" if estimate.missing else ""
        rows.append((title, value_text(key, estimate.value) + mark, *spread, interval_text(key, estimate)))
    spread_header = ("spread over folds",) if several else ()
    header = ("", "mean over folds" if several else "value", *spread_header, "95 % interval")
    return Grid("figures", header, tuple(rows), incomplete_note(result))


def _published(result: ProtocolResult, simulated: bool) -> Grid:
    header = ("Method", "Data", "APCER", "BPCER", "ACER")
    if result.protocol is None:
        return Grid("", header, ())
    rows: list[tuple[str, ...]] = [
        (f"{row.method} (slides)", "OULU-NPU", _rate(row.apcer), _rate(row.bpcer), _rate(row.acer))
        for row in published(result.protocol)
    ]
    ours = f"{SIMULATED}, not OULU-NPU" if simulated else "as given"
    for label, highest, average in (
        ("This run, highest kind of attack", "apcer_kind_max", "acer_kind"),
        ("This run, highest instrument", "apcer_max", "acer"),
    ):
        # Cells with a spread have no interval, for comparison with the slides' cells.
        keys = (Key(highest), Key("bpcer"), Key(average))
        rows.append((label, ours, *(cell(result.summary, key, len(result.folds) == 1) for key in keys)))
    note = (
        f"Slides: {SOURCE}. They do not define the spread after their ±. Their rates of 0.4 % in protocol 1 are 1 of "
    )
    note += (
        "240 attacks, so the two printers count as one instrument, and the two displays too: compare with the kinds."
    )
    if simulated:
        note += " This run's data is simulated: do not rank its rows among the slides'."
    note = f"{note} {incomplete_note(result)}".rstrip()
    return Grid("beside the slides", header, tuple(rows), note)


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f} %" if rate.spread is None else f"{rate.percent:.1f} % ± {rate.spread:.1f}"


def _folds(result: ProtocolResult) -> Grid:
    names = ("apcer_max", "apcer_pooled", "bpcer", "acer", "hter", "eer")
    header = ("Fold", "dev EER", "threshold", "APCER", "APCER pooled", "BPCER", "ACER", "HTER", "test EER", "test set")
    rows = []
    for fold in result.folds:
        test = (cell(fold.test, Key(name)) for name in names)
        eer = cell(fold.dev, Key("eer"))
        threshold = f"{fold.threshold:.6f}{', given' if fold.given else ''}"
        rows.append((fold.name, eer, threshold, *test, _counts(fold.test_counts)))
    title = "folds" if len(rows) > 1 else "threshold and test set"
    return Grid(title, header, tuple(rows), incomplete_note(result))


def _counts(counts: Counts) -> str:
    live = counts.scored[BONA_FIDE]
    text = f"{live} live, {sum(counts.scored.values()) - live} attacks, {counts.subjects} subjects"
    unscored = sum(counts.unscored.values())
    return f"{text}; {unscored} without score" if unscored else text


def _instruments(result: ProtocolResult) -> Grid:
    rows = [
        (title, *(cell(result.summary, Key(figure, by, value), True) for figure in ("apcer", "eer", "auc")))
        for by, word in (("instrument", ""), ("kind", "all "))
        for value in slice_values(result, by)
        for title in (f"{word}{value}",)
    ]
    note = f"EER and AUC of an instrument: with all bona fide presentations. {incomplete_note(result)}".rstrip()
    return Grid("by instrument", ("Instrument", "APCER", "EER", "AUC"), tuple(rows), note)


def _slices(result: ProtocolResult, by: str) -> Grid:
    names = ("apcer_max", "apcer_pooled", "bpcer", "acer")
    rows = tuple(
        (f"{by} {value}", *(cell(result.summary, Key(name, by, value), True) for name in names))
        for value in slice_values(result, by)
    )
    return Grid(f"by {by}", (by.capitalize(), "APCER, highest instrument", "APCER pooled", "BPCER", "ACER"), rows)
