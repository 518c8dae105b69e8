# SPDX-License-Identifier: Apache-2.0
"""One table of several systems: cost, training budget, and the figures of `eulernet evaluate`; as CSV and Markdown."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eulernet.evaluation.report_tables import ABSENT
from eulernet.evaluation.stress_figures import COPIES, INSTRUMENTS
from eulernet.learning.checkpoint import AnyCheckpoint, CheckpointError, load_any
from eulernet.learning.trainer import HISTORY
from eulernet.network import EulerNet
from eulernet.scoring.protocol_scoring import first_model
from eulernet_build.comparison.system_cost import SystemCost, system_cost
from eulernet_core.tensors import FACE_SIDE_PX

REPORT = "metrics.json"
ERRORS = ("acer", "acer_low", "acer_high", "apcer", "bpcer")
# Cell by column; rates are shares, 0 to 1. None: unknown or not measured.
Row = dict[str, str | int | float | None]


class ComparisonError(Exception):
    """An evaluation can't be a row of the table; the message names its folder and the cause."""


def rows_of(evaluations: Sequence[Path], timed: bool = True) -> list[Row]:
    """A row for each folder of `eulernet evaluate --out`.

    Raises:
        ComparisonError: a folder has no report, its model is not a checkpoint, or the data sets differ.
    """
    reports = {folder: _report(folder) for folder in evaluations}
    data = {folder: (each["facts"].get("data"), each["simulated"]) for folder, each in reports.items()}
    if len(set(data.values())) > 1:
        names = "; ".join(f"{folder}: {name}" for folder, (name, _) in data.items())
        raise ComparisonError(f"the evaluations are of different data, which can't be compared: {names}")
    costs: dict[str, SystemCost] = {}
    return [_row(folder, report, timed, costs) for folder, report in reports.items()]


def to_csv(rows: Sequence[Row]) -> str:
    """The rows with all columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in rows])
    return text.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """A table of cost and error, and one of the stress instruments where there are any."""
    mark = " (simulated)" if any(row["simulated"] for row in rows) else ""
    protocols = list(dict.fromkeys(name for row in rows for name in row if name.startswith("acer") and _plain(name)))
    names = {name: f"ACER {name.removeprefix('acer').lstrip('_').upper()}".strip() + f" %{mark}" for name in protocols}
    header = ["system", "frames", "parameters", "GMACs a frame", "ms a frame", "trained on frames", *names.values()]
    titles = _titles(rows)
    lines = [
        [
            title,
            str(row["frames"]),
            f"{row['parameters']:,}",
            f"{row['giga_macs']:.3f}",
            _number(row["ms"], "{:.1f}"),
            _budget(row),
            *(_interval(row, name) for name in protocols),
        ]
        for title, row in zip(titles, rows, strict=True)
    ]
    blocks = [_table(header, lines)]
    stress = [f"{kind}_{name}" for kind, name in _stress_columns() if any(f"{kind}_{name}" in row for row in rows)]
    if stress:
        columns = [f"{kind.upper()} {name.replace('_', ' ')} %{mark}" for kind, name in _stress_columns()]
        cells = [
            [title, *(_percent(row.get(name)) for name in stress)] for title, row in zip(titles, rows, strict=True)
        ]
        blocks.append(_table(["system", *columns], cells))
    return "\n\n".join(blocks) + "\n"


def _titles(rows: Sequence[Row]) -> list[str]:
    """The systems, with their weights' names where a system has several rows."""
    systems = [str(row["system"]) for row in rows]
    return [
        f"{system} ({row['weights']})" if systems.count(system) > 1 else system
        for system, row in zip(systems, rows, strict=True)
    ]


def _report(folder: Path) -> Mapping[str, Any]:
    try:
        report: Mapping[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return {"facts": report["facts"], **report}
    except (OSError, ValueError, KeyError) as error:
        raise ComparisonError(f"{folder}: no report of `eulernet evaluate --out {folder}` ({error})") from error


def _row(folder: Path, report: Mapping[str, Any], timed: bool, costs: dict[str, SystemCost]) -> Row:
    path = Path(first_model(report["facts"].get("model", "")))
    try:
        checkpoint = load_any(path)
    except CheckpointError as error:
        raise ComparisonError(f"{folder}: its cost needs the checkpoint that was evaluated; {error}") from error
    key = f"{type(checkpoint.network).__name__} {checkpoint.network.config}"  # systems share a kind of settings
    if key not in costs:
        costs[key] = system_cost(checkpoint.network, timed)
    cost = costs[key]
    row: Row = {
        "system": cost.system,
        "weights": checkpoint.label,
        "data": report["facts"].get("data"),
        "simulated": int(report["simulated"]),
        "frames": cost.frames,
        "parameters": cost.parameters,
        "giga_macs": cost.giga_macs,
        "ms": cost.ms,
        **_training(path, checkpoint),
    }
    for protocol in report["protocols"]:
        end = "" if protocol["protocol"] is None else f"_p{protocol['protocol']}"
        row |= {f"{name}{end}": value for name, value in _errors(protocol["summary"]["figures"]).items()}
    # One protocol's stress figures: the first one's.
    for stress in report.get("stress", [])[:1]:
        for kind, name in _stress_columns():
            found = stress[kind].get(name)
            row[f"{kind}_{name}"] = found and found["value"]
    return row


def _training(path: Path, checkpoint: AnyCheckpoint) -> Row:
    """The run's seed, the number and side of the frames that it saw, and whether it began with trained weights.

    Read from the run's folder if the file is in it.
    """
    settings, network = checkpoint.settings, checkpoint.network
    history = path.parent / HISTORY
    if history.is_file():
        with history.open(newline="", encoding="utf-8") as stream:
            frames = [float(row.get("frames") or 0) for row in csv.DictReader(stream)]
    else:
        frames = [row.get("frames", 0.0) for row in checkpoint.history]
    side = FACE_SIDE_PX
    if not isinstance(network, EulerNet):
        side = network.side_px
    elif settings.get("augmentation"):
        side = settings["augmentation"]["window_px"] or network.config.image_size
    return {
        "seed": settings.get("seed"),
        "trained_frames": round(sum(frames)) or None,
        "trained_px": side,
        "continued": int("start_from" in settings),
    }


def _errors(figures: Mapping[str, Mapping[str, float | None]]) -> Row:
    acer = figures["acer"]
    values = (acer["value"], acer["low"], acer["high"], figures["apcer_max"]["value"], figures["bpcer"]["value"])
    return dict(zip(ERRORS, values, strict=True))


def _stress_columns() -> list[tuple[str, str]]:
    return [*(("apcer", name) for name in INSTRUMENTS), *(("bpcer", name) for name in COPIES)]


def _plain(name: str) -> bool:
    """Whether a column is a rate and not a limit of its interval."""
    return not name.endswith(("_low", "_high"))


def _interval(row: Row, name: str) -> str:
    start, protocol, end = name.partition("_p")
    low, high = (row.get(f"{start}_{side}{protocol}{end}") for side in ("low", "high"))
    limits = f" ({_percent(low)} to {_percent(high)})" if low is not None else ""
    return _percent(row.get(name)) + limits


def _budget(row: Row) -> str:
    if row["trained_frames"] is None:
        return ABSENT
    before = ", after earlier runs" if row["continued"] else ""
    return f"{row['trained_frames']:,} of {row['trained_px']} px{before}"


def _percent(value: str | int | float | None) -> str:
    return ABSENT if value is None else f"{100.0 * float(value):.2f}"


def _number(value: str | int | float | None, text: str) -> str:
    return ABSENT if value is None else text.format(value)


def _cell(value: str | int | float | None) -> str | int | float:
    return "" if value is None else round(value, 6) if isinstance(value, float) else value


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
