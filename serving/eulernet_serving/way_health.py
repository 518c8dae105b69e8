# SPDX-License-Identifier: Apache-2.0
"""Judges one way through the server, the clips' or the streams', by its probes and its stages' counts.

Overload is no stall: a probe that gets no answer says nothing while every stage of its way with waiting requests
infers. Under overload late stages may get no request at all, since callers give up before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eulernet_serving.inference_probe import Answer
from eulernet_serving.triton_metrics import Readings


@dataclass(frozen=True)
class ProbeRound:
    """Probes of all ways, begun at `begun_s`, and the metrics after them, None if nobody says."""

    begun_s: float
    ended_s: float
    answers: Mapping[str, Answer]
    readings: Readings | None


@dataclass
class WayHealth:
    """The health of one way. `models`: the ensemble's stages; `ready`: of the last probe that said something."""

    way: str
    models: Sequence[str]
    started_s: float
    ready: bool = False
    _moved_s: dict[str, float] = field(
        default_factory=dict
    )  # when a stage was last seen to infer, or to have nothing to do
    _counts: dict[str, int] = field(default_factory=dict)

    def update(self, seen: ProbeRound) -> None:
        """Takes one round of probes into account."""
        answer = seen.answers[self.way]
        counts = {model: seen.readings.inferences.get(model, 0) for model in self.models} if seen.readings else {}
        grown = {model for model, count in counts.items() if count > self._counts.get(model, count)}
        for model in self.models:
            spared = bool(grown) and seen.readings is not None and not seen.readings.pending.get(model, 0)
            if answer is Answer.OK or model in grown or spared:
                self._moved_s[model] = seen.ended_s
        self._counts |= counts
        if answer is Answer.OK:
            self.ready = True
        elif answer is Answer.ERROR or self._last_moved_s <= seen.begun_s:
            self.ready = False

    def silent_s(self, now_s: float) -> float:
        """For how long some stage has inferred nothing although probes asked for it; 0 while the way is ready."""
        return 0.0 if self.ready else now_s - self._last_moved_s

    @property
    def _last_moved_s(self) -> float:
        """When the slowest stage moved."""
        return min((self._moved_s.get(model, self.started_s) for model in self.models), default=self.started_s)
