# SPDX-License-Identifier: Apache-2.0
"""The runs: variants of the slides' ablation table (Cong, Zhang, He and Gao, SEKE 2022), by seed and fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eulernet.datasets.oulu import FOLDS, PROTOCOLS

if TYPE_CHECKING:
    from eulernet.labels import LabelKind
    from eulernet.learning.settings import Settings

FULL = "full"
ABLATED_PROTOCOL = 1


@dataclass(frozen=True)
class Variant:
    """A row of the slides' table. `slides_dev`, `slides_test`: ACER in percent; the slides do not name the data set."""

    tag: str
    label: LabelKind
    fcam: bool
    pyramid: bool
    slides_dev: float
    slides_test: float

    @property
    def title(self) -> str:
        """Tag, label and missing modules, for legends."""
        lacking = [name for name, there in (("FCAM", self.fcam), ("pyramid", self.pyramid)) if not there]
        without = f", without {' and '.join(lacking)}" if lacking else ""
        return f"{self.tag}: {LABEL_TITLES[self.label]}{without}"


LABEL_TITLES: dict[LabelKind, str] = {"location": "location map", "mask": "binary mask", "depth": "depth map"}
VARIANTS = (
    Variant("C1", "mask", True, True, 3.95, 2.84),
    Variant("C2", "depth", False, False, 3.62, 2.57),
    Variant("C3", "location", True, False, 2.85, 2.26),
    Variant("C4", "location", False, True, 3.13, 2.22),
    Variant("C5", "depth", True, True, 2.74, 2.06),
    Variant(FULL, "location", True, True, 2.48, 1.88),
)
BY_TAG = {variant.tag: variant for variant in VARIANTS}


@dataclass(frozen=True)
class Run:
    """One training. `fold`: 1 to 6 in protocols 3 and 4, else 0, as in the recipes."""

    variant: str
    protocol: int
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.variant}_p{self.protocol}{f'_{self.fold}' if self.fold else ''}_s{self.seed}"

    def __str__(self) -> str:
        fold = f", fold {self.fold}" if self.fold else ""
        return f"{self.variant}, protocol {self.protocol}{fold}, seed {self.seed}"

    def settings(self, recipe: Settings) -> Settings:
        """The recipe with the settings of this run."""
        variant = BY_TAG[self.variant]
        return dataclasses.replace(
            recipe,
            seed=self.seed,
            data=dataclasses.replace(recipe.data, protocol=self.protocol, fold=self.fold, label=variant.label),
            network=dataclasses.replace(recipe.network, fcam=variant.fcam, pyramid=variant.pyramid),
        )


def variant_runs(tags: Iterable[str], seeds: Iterable[int]) -> list[Run]:
    """All variants with the first seed, then all with the next, so that finished runs can be compared at any time."""
    return [Run(tag, ABLATED_PROTOCOL, 0, seed) for seed in seeds for tag in _in_order(tags)]


def fold_runs(protocols: Sequence[int], tags: Iterable[str], seeds: Iterable[int]) -> list[Run]:
    """Every fold of these protocols; protocols 1 and 2 have one fold each."""
    folds = [(k, fold) for k in PROTOCOLS if k in protocols for fold in (FOLDS if k in (3, 4) else (0,))]
    return [Run(tag, k, fold, seed) for seed in seeds for tag in _in_order(tags) for k, fold in folds]


def _in_order(tags: Iterable[str]) -> list[str]:
    """The tags with the full model first, because the others are compared with it."""
    wanted = set(tags)
    return [tag for tag in (FULL, *(v.tag for v in VARIANTS if v.tag != FULL)) if tag in wanted]
