# SPDX-License-Identifier: Apache-2.0
"""Scores as arrays with a row per presentation, the input of the figures and the bootstrap."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.records import BONA_FIDE, Video
from eulernet.evaluation.scores import Score
from eulernet_core.attack_detection_metrics import FloatArray, MetricsError, Sample

Per = Literal["video", "clip"]
IntArray = NDArray[np.int64]
UNKNOWN = -1  # an unknown phone or session
# A scope of presentations: all, ("", ""), or one phone or session, such as ("phone", "3").
Scope = tuple[str, str]
WHOLE: Scope = ("", "")
_COLUMNS = ("liveness", "instrument", "subject", "phone", "session")


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        liveness: float64 (n,).
        instrument: int64 (n,), 0 for bona fide, i + 1 for `instruments[i]`.
        subject: int64 (n,), an index into `subjects`.
        phone, session: int64 (n,), or UNKNOWN.
        instruments, subjects: names in alphabetical order.
        unscored: by class, BONA_FIDE or an instrument, the number of unscored presentations; they have no row.
        silent: by scope, the classes that have presentations there, all of them unscored; figures can't include them.
    """

    liveness: FloatArray
    instrument: IntArray
    subject: IntArray
    phone: IntArray
    session: IntArray
    instruments: tuple[str, ...]
    subjects: tuple[str, ...]
    unscored: Mapping[str, int] = field(default_factory=dict)
    silent: Mapping[Scope, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: Iterable[Score], per: Per = "video") -> Table:
        """A row per video, with the mean liveness of its clips, or a row per clip; sorted by path and liveness."""
        every = _videos(scores) if per == "video" else [(score.video, score.liveness) for score in scores]
        rows = [(video, liveness) for video, liveness in every if liveness is not None]
        rows.sort(key=lambda row: (row[0].path.as_posix(), row[1]))
        videos = [video for video, _ in rows]
        instruments = tuple(sorted({video.instrument for video in videos if not video.live}))
        subjects = tuple(sorted({video.subject for video in videos}))
        codes = {name: code for code, name in enumerate(instruments, 1)}
        numbers = {name: number for number, name in enumerate(subjects)}
        return cls(
            liveness=np.array([liveness for _, liveness in rows], np.float64),
            instrument=np.array([0 if video.live else codes[video.instrument] for video in videos], np.int64),
            subject=np.array([numbers[video.subject] for video in videos], np.int64),
            phone=np.array([UNKNOWN if video.phone is None else video.phone for video in videos], np.int64),
            session=np.array([UNKNOWN if video.session is None else video.session for video in videos], np.int64),
            instruments=instruments,
            subjects=subjects,
            unscored=Counter(video.instrument for video, liveness in every if liveness is None),
            silent=_silent(every),
        )

    def __len__(self) -> int:
        return len(self.liveness)

    def take(self, rows: IntArray) -> Table:
        """The table of these rows, with all names."""
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return replace(self, **arrays)

    def sample(self) -> Sample:
        """The scores by class. Raises: MetricsError, if a class has none."""
        by_code = {name: self.liveness[self.instrument == code] for code, name in enumerate(self.instruments, 1)}
        return Sample(self.liveness[self.instrument == 0], by_code)

    def complete(self) -> bool:
        """Whether bona fide and every instrument have a row."""
        return bool(len(self.instruments) and np.bincount(self.instrument, minlength=len(self.instruments) + 1).all())

    def counts(self) -> dict[str, int]:
        """Rows by class: BONA_FIDE, then the instruments."""
        found = np.bincount(self.instrument, minlength=len(self.instruments) + 1)
        return dict(zip((BONA_FIDE, *self.instruments), map(int, found), strict=True))


def _videos(scores: Iterable[Score]) -> list[tuple[Video, float | None]]:
    """Each video with the mean of its scored clips, None if it has none.

    Raises: MetricsError, if rows contradict each other about a video.
    """
    clips: dict[str, tuple[Video, list[float]]] = {}
    for score in scores:
        video, values = clips.setdefault(score.video.path.as_posix(), (score.video, []))
        if score.video != video:
            names = (each.name for each in fields(Video))
            differing = next(name for name in names if getattr(video, name) != getattr(score.video, name))
            raise MetricsError(
                f"{video.path}: its clips disagree about {differing} ({getattr(video, differing)!r} and "
                f"{getattr(score.video, differing)!r}); a path must belong to one video"
            )
        if score.liveness is not None:
            values.append(score.liveness)
    # Sorted, because the rounding of the mean depends on the order.
    return [(video, float(np.mean(sorted(values))) if values else None) for video, values in clips.values()]


def _silent(every: Iterable[tuple[Video, float | None]]) -> dict[Scope, tuple[str, ...]]:
    scored: dict[Scope, set[str]] = defaultdict(set)
    unscored: dict[Scope, set[str]] = defaultdict(set)
    for video, liveness in every:
        for by, value in (WHOLE, ("phone", video.phone), ("session", video.session)):
            if value is not None:
                (unscored if liveness is None else scored)[by, str(value)].add(video.instrument)
    classes = {scope: tuple(sorted(names - scored[scope])) for scope, names in sorted(unscored.items())}
    return {scope: names for scope, names in classes.items() if names}


def shared_subjects(one: Table, other: Table) -> list[str]:
    """The subjects in both tables."""
    return sorted(set(one.subjects) & set(other.subjects))


def known(values: IntArray) -> list[int]:
    """The phones or sessions in a column, in order, without UNKNOWN."""
    return sorted(value for value in Counter(values.tolist()) if value != UNKNOWN)
