# SPDX-License-Identifier: Apache-2.0
"""A video of a data set, and the problems found while reading one."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Label = Literal["live", "attack"]
Split = Literal["train", "dev", "test"]
LABELS: tuple[Label, ...] = get_args(Label)
SPLITS: tuple[Split, ...] = get_args(Split)
BONA_FIDE = "bona_fide"  # the instrument of every live video
UNKNOWN_INSTRUMENT = "unknown"
# Words for a label or a split in other data sets, without numbers: 1 is live in some data sets and an attack in others.
_LABEL_WORDS: Mapping[str, Label] = {
    **dict.fromkeys(("live", BONA_FIDE, "bonafide", "real", "genuine"), LABELS[0]),
    **dict.fromkeys(("attack", "presentation_attack", "spoof", "fake"), LABELS[1]),
}
_SPLIT_WORDS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), SPLITS[0]),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation"), SPLITS[1]),
    **dict.fromkeys(("test", "testing"), SPLITS[2]),
}


def label_of(text: str) -> Label | None:
    """The label that a cell of a table names, in any case: live, bona fide, real, attack, spoof; None if unknown."""
    return _LABEL_WORDS.get(_word(text))


def label_remedy(text: str) -> str:
    """What to do about a cell without a known label."""
    number = text.strip().lstrip("+-").isdecimal()
    why = " (a number is no label: data sets differ in its meaning)" if number else ""
    return f"write {' or '.join(LABELS)}{why}"


def instrument_of(text: str, label: Label | None) -> str:
    """The instrument that a cell of a table names. An empty one is BONA_FIDE for a live video, else `unknown`."""
    if label_of(text) == "live" or (not text and label == "live"):
        return BONA_FIDE
    return text or UNKNOWN_INSTRUMENT


def split_of(text: str) -> Split | None:
    """The split that a cell of a table names, in any case: train, dev, validation, test; None if unknown."""
    return _SPLIT_WORDS.get(_word(text))


def _word(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


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
    """`kind`: the category; `where`: a file, a line or a name; `what`: the cause and the remedy; `kept`: the videos
    concerned stay in the data set, else they are left out."""

    kind: str
    where: str
    what: str
    kept: bool = False


@dataclass
class Problems:
    """The problems of a data set, in the order of their discovery."""

    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, where: object, what: str, kept: bool = False) -> None:
        self.found.append(Problem(kind, str(where), what, kept))

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
    """Result of a reader.

    Attributes:
        videos: the usable ones.
        problems: of the others, and doubts about these.
        listed: number of entries of the wanted split, usable or not.
        lacking: why no entry is listed, with the remedy; empty if some are.
    """

    videos: list[Video] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    listed: int = 0
    lacking: str = ""

    def require(self) -> list[Video]:
        """The videos. Raises: DatasetError, with the reason and the problems, if there are none."""
        if not self.videos:
            reason = f"no usable video: {self.lacking}" if self.lacking else "no usable video"
            raise DatasetError(f"{reason}\n{self.problems.summary()}".rstrip())
        return self.videos
