# SPDX-License-Identifier: Apache-2.0
"""A video of a data set, and the problems found while reading one."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Label = Literal["live", "attack"]
Split = Literal["train", "dev", "test"]
LABELS: tuple[Label, ...] = get_args(Label)
SPLITS: tuple[Split, ...] = get_args(Split)
BONA_FIDE = "bona_fide"  # the instrument of every live video


class DatasetError(RuntimeError):
    """An unusable data set; the message gives the cause and the remedy."""


@dataclass(frozen=True)
class Video:
    """One video. `instrument`: BONA_FIDE or the attack instrument; `phone`, `session`: None if unknown."""

    path: Path
    label: Label
    instrument: str
    subject: str
    phone: int | None
    session: int | None
    split: Split
    name: str

    @property
    def live(self) -> bool:
        return self.label == "live"


@dataclass(frozen=True)
class Problem:
    """`kind`: the category; `where`: a file, a line or a name; `what`: the cause and the remedy."""

    kind: str
    where: str
    what: str


@dataclass
class Problems:
    """The problems of a data set, in the order of their discovery."""

    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, where: object, what: str) -> None:
        self.found.append(Problem(kind, str(where), what))

    def extend(self, other: "Problems") -> None:
        self.found.extend(other.found)

    def count(self, kind: str) -> int:
        return sum(each.kind == kind for each in self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def summary(self, examples: int = 3) -> str:
        """A line per kind with its count, followed by the first few problems; empty without problems."""
        lines = []
        for kind, count in Counter(each.kind for each in self.found).items():
            lines.append(f"{kind}: {count}")
            members = [each for each in self.found if each.kind == kind]
            lines += [f"  {each.where}: {each.what}" for each in members[:examples]]
            if count > examples:
                lines.append(f"  and {count - examples} more")
        return "\n".join(lines)


@dataclass
class Reading:
    """Result of a reader: the usable videos, and the problems of the others."""

    videos: list[Video] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    def require(self) -> list[Video]:
        """The videos. Raises: DatasetError, with the problems, if there are none."""
        if not self.videos:
            raise DatasetError(f"no usable video\n{self.problems.summary()}".rstrip())
        return self.videos
