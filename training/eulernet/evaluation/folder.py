# SPDX-License-Identifier: Apache-2.0
"""A folder of score tables, the input of a report: `dev.csv` and `test.csv`, or a pair per protocol and fold.

Names: protocol_1_dev.csv, protocol_1_test.csv, protocol_3_fold_1_dev.csv and so on; with stress instruments also
protocol_1_stress.csv and so on. about.json describes the scored system; without it, the folder's name is used.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from eulernet.datasets.records import Split
from eulernet.evaluation.bootstrap import RESAMPLES
from eulernet.evaluation.protocols import Fold, ProtocolResult, evaluate_protocol
from eulernet.evaluation.report import About, Evaluation
from eulernet.evaluation.scores import ScoresError, read_scores
from eulernet.evaluation.stress_figures import BPCER, StressResult
from eulernet.evaluation.table import Per, Table
from eulernet_core.attack_detection_metrics import EqualErrors
from eulernet_core.whole_files import write_whole_text

ABOUT = "about.json"
_NAME = re.compile(r"(?:protocol_(?P<protocol>[1-4])_(?:fold_(?P<fold>[1-6])_)?)?(?P<table>dev|test|stress)\.csv")


class Part(NamedTuple):
    """A protocol of OULU-NPU and its fold; None for neither. Sorted by both."""

    protocol: int | None = None
    fold: int | None = None

    def __str__(self) -> str:
        return f"protocol {self.protocol}" + ("" if self.fold is None else f" fold {self.fold}")

    def file(self, table: Split | Literal["stress"]) -> str:
        """File name of its table of `dev`, `test` or `stress` scores."""
        protocol = "" if self.protocol is None else f"protocol_{self.protocol}_"
        return f"{protocol}{'' if self.fold is None else f'fold_{self.fold}_'}{table}.csv"


def parts(folder: Path, with_dev: bool = True) -> list[Part]:
    """The protocols and folds with tables in a folder, in order.

    Args:
        with_dev: whether dev tables are needed.
    Raises:
        ScoresError: all tables are missing, or one of a pair.
    """
    found: set[Part] = set()
    for match in map(_NAME.fullmatch, _names(folder)):
        if match is not None:
            found.add(Part(*(int(match[name]) if match[name] else None for name in ("protocol", "fold"))))
    if not found:
        raise ScoresError(
            f"{folder}: no score tables; name them dev.csv and test.csv, or {Part(1).file('dev')} and so on"
        )
    for part in found:
        if with_dev and not (folder / part.file("dev")).is_file():
            remedy = "dev scores give the threshold; add them, or give a threshold with --threshold"
            raise ScoresError(f"{folder / part.file('dev')}: missing; {remedy}")
        if not (folder / part.file("test")).is_file():
            raise ScoresError(f"{folder / part.file('test')}: missing; test scores give the figures")
    return sorted(found, key=lambda part: (part.protocol or 0, part.fold or 0))


def clear(folder: Path) -> None:
    """Makes the folder and removes the tables of an earlier evaluation, so that a report never mixes two."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _names(folder):
        if _NAME.fullmatch(name) or name == ABOUT:
            (folder / name).unlink()


def write_about(folder: Path, about: About) -> None:
    """Writes about.json."""
    write_whole_text(folder / ABOUT, json.dumps(asdict(about), indent=1, ensure_ascii=False) + "\n")


def read_about(folder: Path) -> About:
    """Reads a file of `write_about`. Raises: ScoresError, if the file is not one."""
    path = folder / ABOUT
    if not path.exists():
        return About(folder.resolve().name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        about = About(**content)
        if about.threshold is not None and not 0.0 <= about.threshold <= 1.0:
            raise ValueError(f"threshold {about.threshold}")
        if about.equal_errors not in get_args(EqualErrors):
            raise ValueError(f"equal_errors {about.equal_errors!r}")
        return replace(about, notes=tuple(about.notes), facts=dict(about.facts))
    except (OSError, ValueError, TypeError) as error:
        raise ScoresError(
            f"{path}: not written by `eulernet evaluate` ({error}); remove it or evaluate again"
        ) from error


def evaluate_folder(
    folder: Path,
    per: Per = "video",
    resamples: int = RESAMPLES,
    seed: int = 0,
    threshold: float | None = None,
    equal: EqualErrors | None = None,
) -> Evaluation:
    """All figures of all protocols in the folder.

    Args:
        per: the presentation, a video or a clip.
        resamples, seed: for the intervals.
        threshold: lowest liveness with the verdict live; None for about.json's, or from the dev scores.
        equal: where the dev scores set the threshold, see `eer_threshold`; None for about.json's.
    Raises:
        ScoresError, MetricsError: a table can't be used.
    """
    by_protocol: dict[int | None, list[Fold]] = {}
    stressed: dict[int | None, list[Fold]] = {}
    about = read_about(folder)
    equal = equal or about.equal_errors
    given = about.threshold if threshold is None else threshold
    for part in parts(folder, with_dev=given is None):
        dev = _table(folder, part, "dev", per) if (folder / part.file("dev")).is_file() else None
        fold = Fold(str(part.fold or 1), dev, _table(folder, part, "test", per))
        by_protocol.setdefault(part.protocol, []).append(fold)
        if (folder / part.file("stress")).is_file():
            stressed.setdefault(part.protocol, []).append(replace(fold, test=_table(folder, part, "stress", per)))
    results = tuple(
        evaluate_protocol(folds, protocol, resamples, seed, given, equal) for protocol, folds in by_protocol.items()
    )
    stress = (
        _stress(result, stressed[result.protocol], given, equal)
        for result in results
        if len(stressed.get(result.protocol, ())) == len(result.folds)
    )
    facts = {**about.facts, "a presentation is": "a video, with the mean of its clips" if per == "video" else "a clip"}
    if given is None and equal == "highest":
        facts["equal errors"] = "BPCER and the highest APCER of the instruments"
    return Evaluation(replace(about, facts=facts, equal_errors=equal), results, tuple(stress))


def _stress(plain: ProtocolResult, folds: list[Fold], given: float | None, equal: EqualErrors) -> StressResult:
    # Without a number, because the rules and the slides' rows of a protocol are not for these instruments.
    result = evaluate_protocol(folds, None, plain.resamples, plain.seed, given, equal)
    return StressResult(replace(result, protocol=plain.protocol), plain.summary[BPCER])


def _table(folder: Path, part: Part, table: Split | Literal["stress"], per: Per) -> Table:
    return Table.of(read_scores(folder / part.file(table), "test" if table == "stress" else table), per)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
