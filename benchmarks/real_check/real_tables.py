# SPDX-License-Identifier: Apache-2.0
"""Tables of the rows: by presentation and by file, as Markdown between two marks of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import pages
from benchmarks.real_check.real_scores import BONA_FIDE, RECORDED, Row
from benchmarks.real_check.real_sources import ARCHIVES, INSTALLED, Kind, installed_file
from eulernet.evaluation.stress_figures import INSTRUMENTS, RESAMPLED
from eulernet.scoring.stress import FLICKERING, SPEEDS_PX
from eulernet_core.whole_files import write_whole_text

BEGIN, END = "<!-- begin: written by make real-check -->", "<!-- end: written by make real-check -->"
ABSENT = "–"
PASS, REFUSE = "pass", "refuse"
NAMES = {
    RECORDED: "as recorded",
    RESAMPLED: "resampled and with noise",
    "frozen": "repeated",
    "frozen_noise": "repeated, with new noise in each frame",
    **{name: f"moved as a plane, {low:g} to {high:g} px a step" for name, (low, high) in SPEEDS_PX.items()},
}
SUBJECTS: dict[Kind, str] = {"video": "one frame of a video", "photograph": "photograph"}


class PageError(ValueError):
    """The page has no place for the tables."""


def markdown(rows: Sequence[Row], weights: str) -> str:
    """The tables of a page.

    Args:
        rows: of all materials.
        weights: their label and the file, in words.
    """
    judged = any(row.judged is not None for row in rows)
    without = "" if judged else " Run it with MiniFASNet's weights to compare."
    parts = [[f"Weights: {weights}.{without}"], [_summary(rows)]]
    parts += [_presentations(rows, judged), _files(rows, judged), _sources()]
    return "\n\n".join("\n".join(lines) for lines in parts)


def insert(page: Path, text: str) -> None:
    """Puts `text` between BEGIN and END of a page. Raises: PageError if it lacks one of them."""
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise PageError(f"{page}: lacks the lines {BEGIN} and {END}; add them where the tables belong")
    write_whole_text(page, f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Writes a CSV table with a line for each clip."""
    pages.write_csv([asdict(row) | {"live": row.live} for row in rows], path)


def _summary(rows: Sequence[Row]) -> str:
    recordings, attacks = ([row for row in rows if row.bona_fide == bona_fide] for bona_fide in (True, False))
    called = f"{_count(recordings, lambda row: row.live)} of {len(recordings)} bona fide clips are called live"
    return f"{called}, and so are {_count(attacks, lambda row: row.live)} of {len(attacks)} attacks by construction."


def _presentations(rows: Sequence[Row], judged: bool) -> list[str]:
    table = _head(["shown", "must", "clips", "called live", "median liveness", "flagged"], judged)
    groups: list[tuple[Kind, Sequence[str]]] = [
        ("video", BONA_FIDE),
        ("video", tuple(INSTRUMENTS)),
        ("photograph", tuple(INSTRUMENTS)),
    ]
    for kind, names in groups:
        for name in names:
            chosen = [row for row in rows if row.kind == kind and row.presentation == name]
            if chosen:
                subject = "video" if name in BONA_FIDE else SUBJECTS[kind]
                light = ", in changing light" if name in FLICKERING else ""
                must = PASS if name in BONA_FIDE else REFUSE
                table.append(_line([f"{subject}, {NAMES[name]}{light}", must, *_figures(chosen)], chosen, judged))
    return table


def _files(rows: Sequence[Row], judged: bool) -> list[str]:
    """For each file, its recordings and the attacks that are made of it."""
    table = _head(["file", "must", "clips", "called live", "median liveness", "flagged", "face, px"], judged)
    for package, file in dict.fromkeys((row.package, row.file) for row in rows):
        for bona_fide in (True, False):
            chosen = [row for row in rows if (row.package, row.file, row.bona_fide) == (package, file, bona_fide)]
            if chosen:
                side = str(round(median(row.side_px for row in chosen)))
                cells = [f"`{file}`", PASS if bona_fide else REFUSE, *_figures(chosen), side]
                table.append(_line(cells, chosen, judged))
    return table


def _figures(rows: Sequence[Row]) -> list[str]:
    """Number of clips, of those called live, median liveness, number of flagged clips."""
    scores = [row.liveness for row in rows if row.liveness is not None]
    middle = f"{median(scores):.2f}" if scores else ABSENT
    return [str(len(rows)), _count(rows, lambda row: row.live), middle, _count(rows, lambda row: row.flagged)]


def _count(rows: Sequence[Row], wanted: Callable[[Row], bool]) -> str:
    return str(sum(wanted(row) for row in rows))


def _head(titles: list[str], judged: bool) -> list[str]:
    titles = [*titles, *(["MiniFASNet: called real"] if judged else [])]
    rule = ["---" if title in ("shown", "file", "must") else "---:" for title in titles]
    return [_cells(titles), _cells(rule)]


def _line(cells: list[str], rows: Sequence[Row], judged: bool) -> str:
    return _cells([*cells, *([_count(rows, lambda row: bool(row.judged_real))] if judged else [])])


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _sources() -> list[str]:
    table = [_cells(["package", "licence of the package", "files"]), _cells(["---"] * 3)]
    for archive in ARCHIVES:
        names = ", ".join(f"`{Path(member).name}`" for member in archive.members)
        table.append(_cells([f"{archive.requirement.replace('==', ' ')}", archive.licence, names]))
    for name, package in INSTALLED.items():
        table.append(
            _cells([f"{package}, as installed", "public domain (the photograph)", f"`{installed_file(name)}`"])
        )
    return table
