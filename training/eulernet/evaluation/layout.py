"""The tables of a report, as text: what its Markdown and its page both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.metrics import FIGURES
from eulernet.evaluation.protocols import Counts, Estimate, Key, ProtocolResult
from eulernet.evaluation.published import OURS, SOURCE, Rate, published

SIMULATED = "simulated"
ABSENT = "–"
RULES = (
    "Liveness is higher for bona fide; a presentation is taken for live when its liveness is at least the threshold.",
    "Threshold: the dev scores' operating point with the smallest |APCER − BPCER|, attacks pooled; of equals the one "
    "with the smaller sum, then the higher threshold. It is the middle of the gap between two neighbouring dev scores.",
    "APCER: share of an instrument's attacks that are accepted. Highest: of the instruments (ISO/IEC 30107-3), or of "
    "the kinds, where the name's number is dropped (print1 and print2 are print), as the classes of OULU-NPU's lists.",
    "ACER: mean of the highest APCER and BPCER. HTER: mean of the pooled APCER and BPCER. Both are what papers "
    "compare; the standard reports APCER and BPCER side by side.",
    "Presentations without a score (no face found, say) are in none of these rates. Where there are any, a warning "
    "gives their share: BPNRR of the bona fide, APNRR of an instrument, the non-response rates of ISO/IEC 30107-3.",
    "BPCER10, 20, 100: the lowest BPCER on the test scores where no instrument's APCER is above 10 %, 5 %, 1 %.",
    "EER: attacks pooled, on the straight line between the two operating points around it. AUC: half for a tie.",
    "Intervals: 95 %, percentile bootstrap over test subjects with all their videos, the threshold held. An interval "
    "from 0 to 0 says that nobody in this sample was judged wrongly, not that nobody would be. That of a maximum leans "
    "to the high side.",
    "Several folds: mean ± sample standard deviation (n − 1) over folds; all folds share a draw of the bootstrap.",
)


@dataclass(frozen=True)
class Grid:
    """A table; its first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def marked(title: str, simulated: bool) -> str:
    """The title, with `simulated` where the data is."""
    return f"{title} ({SIMULATED} data)" if simulated else title


def value_text(key: Key, value: float) -> str:
    """A share in percent; AUC as it is."""
    return f"{value:.4f}" if key.figure == "auc" else f"{100 * value:.2f} %"


def interval_text(key: Key, estimate: Estimate) -> str:
    """`low to high`."""
    if estimate.interval is None:
        return ABSENT
    low, high = estimate.interval
    return f"{low:.4f} to {high:.4f}" if key.figure == "auc" else f"{100 * low:.2f} to {100 * high:.2f} %"


def spread_text(key: Key, estimate: Estimate) -> str:
    """`± spread`, empty for a single fold."""
    if estimate.spread is None:
        return ""
    return f"± {estimate.spread:.4f}" if key.figure == "auc" else f"± {100 * estimate.spread:.2f}"


def cell(estimates: Mapping[Key, Estimate], key: Key, with_interval: bool = False) -> str:
    """A figure, with its spread where it has one, and its interval if asked for."""
    estimate = estimates.get(key)
    if estimate is None:
        return ABSENT
    text = " ".join(filter(None, (value_text(key, estimate.value), spread_text(key, estimate))))
    if with_interval and estimate.interval:
        text += f" ({interval_text(key, estimate)})"
    return text


def overview(protocols: Sequence[ProtocolResult], simulated: bool) -> Grid:
    """A row a protocol."""
    names = ("apcer_max", "bpcer", "acer", "acer_kind", "auc")
    header = ("", "APCER", "BPCER", "ACER", "ACER, kinds", "AUC", "slides' ACER")
    rows = tuple(
        (each.title, *(cell(each.summary, Key(name)) for name in names), _slides_acer(each)) for each in protocols
    )
    return Grid(marked("Overview", simulated), header, rows, "Slides' ACER: of EulerNet, on OULU-NPU.")


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
    """The instruments, phones or sessions that the test scores have, in order."""
    values = {key.value for key in result.summary if key.by == by}
    return sorted(values, key=lambda value: (int(value) if by in ("phone", "session") else 0, value))


def _slides_acer(result: ProtocolResult) -> str:
    rows = published(result.protocol) if result.protocol else ()
    return next((_rate(row.acer) for row in rows if row.method == OURS), ABSENT)


def _figures(result: ProtocolResult) -> Grid:
    several = len(result.folds) > 1
    rows = []
    for name, title in FIGURES.items():
        key, estimate = Key(name), result.summary[Key(name)]
        spread = (spread_text(key, estimate),) if several else ()
        rows.append((title, value_text(key, estimate.value), *spread, interval_text(key, estimate)))
    spread_header = ("spread over folds",) if several else ()
    header = ("", "mean over folds" if several else "value", *spread_header, "95 % interval")
    return Grid("figures", header, tuple(rows))


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
        # Beside a spread, as the slides have it, an interval would not be read.
        keys = (Key(highest), Key("bpcer"), Key(average))
        rows.append((label, ours, *(cell(result.summary, key, len(result.folds) == 1) for key in keys)))
    note = f"Slides: {SOURCE}. Which spread stands after their ± they don't say. Their rates of 0.4 % in protocol 1 "
    note += "are 1 of 240 attacks, so that both printers count as one and both displays: compare with the kinds."
    if simulated:
        note += " This run's data is simulated: its rows can't be ranked among the slides'."
    return Grid("beside the slides", header, tuple(rows), note)


def _rate(rate: Rate) -> str:
    return f"{rate.percent:.1f} %" if rate.spread is None else f"{rate.percent:.1f} % ± {rate.spread:.1f}"


def _folds(result: ProtocolResult) -> Grid:
    names = ("apcer_max", "apcer_pooled", "bpcer", "acer", "hter", "eer")
    header = ("Fold", "dev EER", "threshold", "APCER", "APCER pooled", "BPCER", "ACER", "HTER", "test EER", "test set")
    rows = []
    for fold in result.folds:
        test = (cell(fold.test, Key(name)) for name in names)
        eer, threshold = cell(fold.dev, Key("eer")), f"{fold.threshold:.6f}"
        rows.append((fold.name, eer, threshold, *test, _counts(fold.test_counts)))
    return Grid("folds" if len(rows) > 1 else "threshold and test set", header, tuple(rows))


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
    note = "EER and AUC of an instrument: against all bona fide presentations."
    return Grid("by instrument", ("Instrument", "APCER", "EER", "AUC"), tuple(rows), note)


def _slices(result: ProtocolResult, by: str) -> Grid:
    names = ("apcer_max", "apcer_pooled", "bpcer", "acer")
    rows = tuple(
        (f"{by} {value}", *(cell(result.summary, Key(name, by, value), True) for name in names))
        for value in slice_values(result, by)
    )
    return Grid(f"by {by}", (by.capitalize(), "APCER, highest instrument", "APCER pooled", "BPCER", "ACER"), rows)
