# SPDX-License-Identifier: Apache-2.0
"""Figures of the stress instruments: attacks made from the bona fide test clips, apart from the protocols' figures.

Their rates are at the threshold of the protocols. A copy of a bona fide clip that is only resampled must still pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eulernet.datasets.records import BONA_FIDE
from eulernet.evaluation.completeness import INCOMPLETE, Key
from eulernet.evaluation.protocols import Estimate, ProtocolResult
from eulernet.evaluation.report_tables import ABSENT, Grid, interval_text, marked, spread_text, value_text

PLAIN, RESAMPLED, FROZEN = "plain", "resampled", "frozen"
# In the order of the report. Speeds are px of a face crop 256 px wide, from a clip's frame to the next.
INSTRUMENTS = {
    FROZEN: "the clip's first frame, repeated",
    "frozen_noise": "the same with noise, another one in each frame",
    "moved_slow": "the first frame moved as a plane by 0.5 to 3 px a step",
    "moved_pace": "by 3.5 to 4.1 px a step, as living faces move",
    "moved_fast": "by 3 to 6 px a step",
    "moved_flicker": "by 0.5 to 6 px a step, in flickering light or under automatic exposure",
}
COPIES = {PLAIN: "bona fide, as recorded", RESAMPLED: "bona fide, resampled and with noise"}
BPCER = Key("bpcer")


@dataclass(frozen=True)
class StressResult:
    """
    Attributes:
        result: of the stress instruments, with the resampled copies as bona fide.
        plain: BPCER of the clips as recorded.
    """

    result: ProtocolResult
    plain: Estimate

    @property
    def title(self) -> str:
        """Title for headings."""
        return f"{self.result.title}: stress instruments"

    @property
    def apcer(self) -> Mapping[str, Estimate | None]:
        """By instrument; None if none of its presentations has a score."""
        return {name: self.result.summary.get(_of(name)) for name in INSTRUMENTS}

    @property
    def bpcer(self) -> Mapping[str, Estimate | None]:
        """Of the clips as recorded and of their resampled copies."""
        return {PLAIN: self.plain, RESAMPLED: self.result.summary.get(BPCER)}

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Name, rate, its spread over folds and its interval as text, for each instrument and copy."""
        rows = [(f"{name}: APCER", _of(name), each) for name, each in self.apcer.items()]
        rows += [(f"{name}: BPCER", BPCER, each) for name, each in self.bpcer.items()]
        return [(name, *_texts(key, estimate)) for name, key, estimate in rows]

    def grid(self, simulated: bool) -> Grid:
        """The table of a report."""
        about = [*INSTRUMENTS.values(), *COPIES.values()]
        rows = tuple(
            (name, text, " ".join(filter(None, (value, spread))), interval)
            for text, (name, value, spread, interval) in zip(about, self.lines(), strict=True)
        )
        scored = sum(fold.test_counts.scored[BONA_FIDE] for fold in self.result.folds)
        note = (
            f"Made from the {scored} bona fide test videos, and decided at the same threshold. Speeds are px of a face "
            "crop 256 px wide, from a clip's frame to the next; a motion is plane: shift, turn, scale, shear and tilt."
        )
        return Grid(marked(self.title, simulated), ("", "made of", "rate", "95 % interval"), rows, note)


def _of(instrument: str) -> Key:
    return Key("apcer", "instrument", instrument)


def _texts(key: Key, estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return ABSENT, "", ABSENT
    mark = f", {INCOMPLETE}" if estimate.missing else ""
    return value_text(key, estimate.value) + mark, spread_text(key, estimate), interval_text(key, estimate)
