# SPDX-License-Identifier: Apache-2.0
"""Reads which sources are bona fide and which are attacks: a CSV with the columns path, label and instrument."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from eulernet_client.errors import TableError
from eulernet_core.attack_detection_metrics import Sample

LIVE, ATTACK = "live", "attack"
UNKNOWN_INSTRUMENT = "unknown"


@dataclass(frozen=True)
class Presentation:
    """A labelled source. `instrument`: of an attack; empty for bona fide."""

    live: bool
    instrument: str


def read_labels(path: Path) -> dict[str, Presentation]:
    """The labels by path, as the file writes it: a manifest of `eulernet train`, or a score table with labels.

    Raises:
        TableError: a column is missing, a label is neither `live` nor `attack`, or a path has two labels.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: can't be read ({error}); name a CSV with the columns path and label") from error
    labels: dict[str, Presentation] = {}
    for number, row in enumerate(rows, 2):
        name, word = row.get("path") or row.get("name"), (row.get("label") or "").strip().lower()
        if not name:
            raise TableError(f"{path}:{number}: no path; the columns are path, label, instrument")
        if word not in (LIVE, ATTACK):
            raise TableError(f"{path}:{number}: label {word!r}; write {LIVE} or {ATTACK}")
        live = word == LIVE
        found = Presentation(live, "" if live else row.get("instrument") or UNKNOWN_INSTRUMENT)
        if labels.setdefault(name, found) != found:
            raise TableError(f"{path}:{number}: {name} has another label in an earlier row")
    return labels


def labels_in_table(path: Path) -> dict[str, Presentation] | None:
    """The labels that a score table itself holds, as one of `eulernet evaluate` does; None without them.

    Raises:
        TableError: as `read_labels`.
    """
    if path.suffix.lower() != ".csv":
        return None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None  # reading its scores says why
    return read_labels(path) if "label" in columns else None


def label_of(name: str, labels: Mapping[str, Presentation]) -> Presentation | None:
    """The label of a source: of its path, or of the longest part at its end that a label names."""
    parts = PurePath(name).parts
    for first in range(len(parts)):
        found = labels.get(str(PurePath(*parts[first:])))
        if found is not None:
            return found
    return None


def sample(scores: Sequence[tuple[float, Presentation]]) -> Sample:
    """The scores by class. Raises: eulernet_core.attack_detection_metrics.MetricsError without both classes."""
    attacks: dict[str, list[float]] = defaultdict(list)
    bona_fide: list[float] = []
    for liveness, presentation in scores:
        (bona_fide if presentation.live else attacks[presentation.instrument]).append(liveness)
    by_instrument = {name: np.array(found, np.float64) for name, found in attacks.items()}
    return Sample(np.array(bona_fide, np.float64), by_instrument)
