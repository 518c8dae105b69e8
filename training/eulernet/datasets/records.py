"""A video of a data set, and what was wrong with those that could not be taken."""

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
    """A data set that nothing can be done with; says why and what to do."""


@dataclass(frozen=True)
class Video:
    """One video. `instrument`: BONA_FIDE or what the attack was made with; `phone`, `session`: None where unknown."""

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
    """`kind`: a few words to count by; `where`: a file, a line or a name; `what`: what is wrong and what to do."""

    kind: str
    where: str
    what: str


@dataclass
class Problems:
    """What is wrong with a data set, in the order in which it was met."""

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
        """A line a kind with its count, and under it the first few of them; empty when nothing is wrong."""
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
    """What a reader found: the videos that can be used, and the problems with the rest."""

    videos: list[Video] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    def require(self) -> list[Video]:
        """The videos; where there is none, a DatasetError that lists the problems."""
        if not self.videos:
            raise DatasetError(f"no video can be used\n{self.problems.summary()}".rstrip())
        return self.videos
