# SPDX-License-Identifier: Apache-2.0
"""The interface of the five ways to score a clip: scores, and a measured load."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.load import Load
from benchmarks.peers.triton_statistics import Counts
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.traffic import Traffic

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Setting:
    """A setting of a way: as text, and as options of its server."""

    words: str
    options: dict[str, int | str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        return [part for name, value in self.options.items() for part in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Place:
    """Input of all ways: a complete repository, the clips, the same clips as files, a folder for logs."""

    repository: Path
    traffic: Traffic
    clips: Path
    logs: Path


class Running(Protocol):
    """A running way. `stages`: Triton's counters of the last load, by model; empty without Triton."""

    stages: dict[str, Counts]

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """float64 (clips, 4), LIVENESS after each frame; `exact`: see body.Clip. Raises: EulerNetError, BenchError."""

    def load(self, plan: Plan) -> Load:
        """Runs a plan of clip calls. Raises: BenchError."""


@dataclass(frozen=True)
class Way:
    """One of the five.

    Attributes:
        key: a to e.
        title: for the report.
        packages: packages that it imports.
        settings: plausible settings; the best is measured.
        start: context manager that runs it.
        own_box: detects the face on the pixels that it decodes, so that its box may be some pixels off EulerNet's.
    """

    key: str
    title: str
    packages: tuple[str, ...]
    settings: tuple[Setting, ...]
    start: Callable[[Place, Setting], contextlib.AbstractContextManager[Running]]
    own_box: bool = False

    def missing(self) -> str:
        """Text with the packages that are not installed and the remedy; empty if all are."""
        lacking = [name for name in self.packages if find_spec(name) is None]
        remedy = "pip install -c constraints.txt -e '.[bench]'"
        return f"{', '.join(lacking)} not installed: {remedy}" if lacking else ""
