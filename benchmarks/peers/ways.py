# SPDX-License-Identifier: Apache-2.0
"""The interface of the ways to score a clip: scores, and a measured load."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.load import Idle, Load
from benchmarks.peers.triton_statistics import Counts
from eulernet_core import shipped
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_loadtest.plan import Plan
from eulernet_loadtest.traffic import Traffic
from eulernet_serving.face_models.converted import DETECTOR_NAME

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Setting:
    """A setting of a way: as text, and as options of its server."""

    words: str
    options: dict[str, int | str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        return [part for name, value in self.options.items() for part in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Inputs:
    """What single ways need beside the served repository.

    Attributes:
        fp32: repository with the fp32 graphs; None: the served one.
        int8: the clip network's int8 graph.
        silent_face: folder of MiniFASNet's two graphs; `retinaface`: of its detector's, by frame size.
        one_stage: repository of the server with one stage.
        earlier: unpacked earlier tree; `earlier_repository`: its repository, which it assembles itself.
        absent: the reason why a way has no input, by its key.
        notes: sentences for the page.
        served_int8: whether the served repository has int8 graphs, so that its scores are not those of fp32.
    """

    fp32: Path | None = None
    int8: Path | None = None
    silent_face: Path | None = None
    retinaface: Path | None = None
    one_stage: Path | None = None
    earlier: Path | None = None
    earlier_repository: Path | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    served_int8: bool = False


@dataclass(frozen=True)
class Place:
    """Input of all ways: a complete repository, the clips, the same clips as files, a folder for logs."""

    repository: Path
    traffic: Traffic
    clips: Path
    logs: Path
    inputs: Inputs = field(default_factory=Inputs)

    @property
    def network(self) -> Path:
        """The fp32 clip network, for the Python servers."""
        return (self.inputs.fp32 or self.repository) / CLIP_NETWORK_MODEL / "1" / "model.onnx"

    @property
    def detector(self) -> Path:
        """The face detector's graph, which the repository's assembly has made."""
        return shipped.face_models_folder() / DETECTOR_NAME


class Running(Protocol):
    """A running way. `stages`: Triton's counters of the last load, by model; empty without Triton. `idle`: start and
    memory of a server; None without one."""

    stages: dict[str, Counts]
    idle: Idle | None

    def scores(self, exact: bool) -> NDArray[np.float64]:
        """float64 (clips, 4), LIVENESS after each frame; `exact`: see body.Clip. Raises: EulerNetError, BenchError."""

    def load(self, plan: Plan) -> Load:
        """Runs a plan of clip calls. Raises: BenchError."""


class Agreement(Enum):
    """How a way's scores compare with the fp32 clip call's: equal, of other precision or weights, of another method."""

    EQUAL = "equal"
    SHOWN = "shown"
    NONE = "none"


@dataclass(frozen=True)
class Way:
    """One way to score a clip.

    Attributes:
        key: a, a8, b, …
        title: for the report.
        packages: packages that it imports; `extra`: the extra that installs them.
        settings: plausible settings; the best is measured.
        start: context manager that runs it.
        own_box: detects the face on the pixels that it decodes, so that its box may be some pixels off EulerNet's.
        agreement: how its scores compare.
        served: runs the served repository.
    """

    key: str
    title: str
    packages: tuple[str, ...]
    settings: tuple[Setting, ...]
    start: Callable[[Place, Setting], contextlib.AbstractContextManager[Running]]
    own_box: bool = False
    agreement: Agreement = Agreement.EQUAL
    served: bool = False
    extra: str = "bench"

    def missing(self) -> str:
        """Text with the packages that are not installed and the remedy; empty if all are."""
        lacking = [name for name in self.packages if find_spec(name) is None]
        remedy = f"pip install -c constraints.txt -e '.[{self.extra}]'"
        return f"{', '.join(lacking)} not installed: {remedy}" if lacking else ""

    def agreement_with(self, inputs: Inputs) -> Agreement:
        """`agreement`, or SHOWN for a served repository of another precision."""
        return Agreement.SHOWN if self.served and inputs.served_int8 else self.agreement
