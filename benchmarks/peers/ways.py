"""The five ways to score a clip, each behind the same two questions: its scores, and how it does under a load."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from eulernet_client.loadtest.plan import Plan
from eulernet_client.loadtest.traffic import Traffic
from numpy.typing import NDArray

from benchmarks.peers.load import Load
from benchmarks.peers.stages import Counts

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Setting:
    """How a way is run: in words, and as its server's options."""

    words: str
    options: dict[str, int | str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        return [part for name, value in self.options.items() for part in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Place:
    """What all ways are given: a complete repository, the clips, the same clips as files, a folder for logs."""

    repository: Path
    traffic: Traffic
    clips: Path
    logs: Path


class Running(Protocol):
    """A way that is up. `stages`: Triton's counters of the last load, by model; empty for all but ours."""

    stages: dict[str, Counts]

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """float64 (clips, 4), LIVENESS after each frame; `exact`: see body.Clip. Raises: EulerNetError, BenchError."""

    def load(self, plan: Plan) -> Load:
        """Carries out a plan of so many clips at once. Raises: BenchError."""


@dataclass(frozen=True)
class Way:
    """One of the five.

    Attributes:
        key: a to e.
        title: for the report.
        packages: what must be importable.
        settings: the sensible ones; the best of them is measured.
        start: runs it for as long as a block lasts.
        own_box: finds the face on pixels of its own, so that its box may be some pixels off ours.
    """

    key: str
    title: str
    packages: tuple[str, ...]
    settings: tuple[Setting, ...]
    start: Callable[[Place, Setting], contextlib.AbstractContextManager[Running]]
    own_box: bool = False

    def missing(self) -> str:
        """The packages that are not installed, with the remedy; empty where none is missing."""
        lacking = [name for name in self.packages if find_spec(name) is None]
        remedy = "pip install -c constraints.txt -e '.[bench]'"
        return f"{', '.join(lacking)} not installed: {remedy}" if lacking else ""
