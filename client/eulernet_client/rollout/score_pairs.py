# SPDX-License-Identifier: Apache-2.0
"""Two answers to one source: of the version in use (stable) and of the candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NOT_SCORED, ABSENT = "not scored", "absent"  # verdicts beside live and attack


@dataclass(frozen=True)
class Answered:
    """One version's answer.

    Attributes:
        liveness: 0 to 1; None without a score.
        seconds: waiting for the server, None if not measured.
        absent: the source is not in this version's table.
        error: why there is no score.
    """

    liveness: float | None
    seconds: float | None = None
    absent: bool = False
    error: str = ""

    def verdict(self, threshold: float) -> str:
        """`live`, `attack`, NOT_SCORED or ABSENT."""
        if self.liveness is None:
            return ABSENT if self.absent else NOT_SCORED
        return "live" if self.liveness >= threshold else "attack"


@dataclass(frozen=True)
class Pair:
    """A source with both answers."""

    name: str
    stable: Answered
    candidate: Answered

    @property
    def difference(self) -> float | None:
        """Candidate's liveness less the stable one's; None if one has no score."""
        if self.stable.liveness is None or self.candidate.liveness is None:
            return None
        return self.candidate.liveness - self.stable.liveness


def paired(stable: Mapping[str, Answered], candidate: Mapping[str, Answered]) -> list[Pair]:
    """Pairs by source. A source of one side only has an answer that is `absent` on the other."""
    absent = Answered(None, absent=True)
    names = [*stable, *(name for name in candidate if name not in stable)]
    return [Pair(name, stable.get(name, absent), candidate.get(name, absent)) for name in names]


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed; None without a value."""
    ascending = sorted(values)
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else None
