# SPDX-License-Identifier: Apache-2.0
"""Keys of figures, and which classes a figure lacks because none of their presentations has a score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.table import WHOLE, Scope
from eulernet_core.attack_detection_metrics import kind_of

Silent = Mapping[Scope, tuple[str, ...]]  # by scope, the classes whose presentations are all unscored
INCOMPLETE = "not complete"


class Key(NamedTuple):
    """Key of a figure of the whole test set, or of a slice by `instrument`, `kind`, `phone` or `session`."""

    figure: str
    by: str = ""
    value: str = ""


def missing_from(silent: Silent, key: Key) -> tuple[str, ...]:
    """The classes without any score that a figure should include; empty if the figure is complete."""
    if key.by == "instrument":
        return tuple(name for name in silent.get(WHOLE, ()) if name == key.value)
    if key.by == "kind":
        return tuple(name for name in silent.get(WHOLE, ()) if name != BONA_FIDE and kind_of(name) == key.value)
    names = silent.get((key.by, key.value), ())
    if key.figure == "bpcer":
        return tuple(name for name in names if name == BONA_FIDE)
    if key.figure.startswith("apcer"):
        return tuple(name for name in names if name != BONA_FIDE)
    return names


def silent_values(silent: Silent, by: str) -> set[str]:
    """The instruments and kinds that have a class without any score, or the phones and sessions with such a class."""
    attacks = [name for name in silent.get(WHOLE, ()) if name != BONA_FIDE]
    if by == "instrument":
        return set(attacks)
    if by == "kind":
        return {kind_of(name) for name in attacks}
    return {value for column, value in silent if column == by}


def together(folds: Iterable[Silent]) -> dict[Scope, tuple[str, ...]]:
    """The classes that are silent in any fold."""
    found: dict[Scope, set[str]] = {}
    for silent in folds:
        for scope, names in silent.items():
            found.setdefault(scope, set()).update(names)
    return {scope: tuple(sorted(names)) for scope, names in found.items()}
