# SPDX-License-Identifier: Apache-2.0
"""Reads OULU-NPU (Boulkenafet et al. 2017) and other data sets in its layout, and writes its protocol files.

Train_files/, Dev_files/ and Test_files/ hold P_S_UU_F.avi (phone, session, user, file) and a .txt with the eyes beside
each video. Protocols/Protocol_k/{Train,Dev,Test}.txt hold lines `label,name`; in protocols 3 and 4 the file's name ends
with the fold (Train_1 to Train_6).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eulernet.datasets.records import BONA_FIDE, SPLITS, Problems, Reading, Split, Video
from eulernet_core.whole_files import write_whole_text

PHONES, SESSIONS, FILES = range(1, 7), range(1, 4), range(1, 6)
INSTRUMENTS = {1: BONA_FIDE, 2: "print1", 3: "print2", 4: "replay1", 5: "replay2"}  # by file code
CODES = {1: 1, 2: -1, 3: -1, 4: -2, 5: -2}  # a protocol file's label, by file code
PROTOCOLS, FOLDS = (1, 2, 3, 4), (1, 2, 3, 4, 5, 6)
USERS: dict[Split, range] = {"train": range(1, 21), "dev": range(21, 36), "test": range(36, 56)}
FOLDERS: dict[Split, str] = {"train": "Train_files", "dev": "Dev_files", "test": "Test_files"}
LISTS: dict[Split, str] = {"train": "Train", "dev": "Dev", "test": "Test"}
_NAME = re.compile(r"([1-6])_([1-3])_(\d{2,})_([1-5])")


@dataclass(frozen=True)
class Name:
    """The parts of a video's file name; as text P_S_UU_F."""

    phone: int
    session: int
    user: int
    file: int

    def __str__(self) -> str:
        return f"{self.phone}_{self.session}_{self.user:02d}_{self.file}"

    @classmethod
    def parse(cls, text: str) -> "Name | None":
        """None if the text is not such a name."""
        match = _NAME.fullmatch(text)
        return None if match is None else cls(*map(int, match.groups()))

    def video(self, path: Path, split: Split) -> Video:
        return Video(
            path=path,
            label="live" if self.file == 1 else "attack",
            instrument=INSTRUMENTS[self.file],
            subject=f"{self.user:02d}",
            phone=self.phone,
            session=self.session,
            split=split,
            name=str(self),
        )


def protocol_names(protocol: int, fold: int | None, split: Split, users: Iterable[int]) -> list[Name]:
    """The names in a split of a protocol, by the documented rules, in ascending order.

    Args:
        protocol: 1 (session), 2 (instrument), 3 (phone), 4 (all of them).
        fold: 1 to 6, the test phone; for protocols 3 and 4 only.
        users: the split's.
    """
    check_protocol(protocol, fold)
    test = split == "test"
    phones: Collection[int] = PHONES
    sessions: Collection[int] = SESSIONS
    files: Collection[int] = FILES
    if protocol in (1, 4):
        sessions = (3,) if test else (1, 2)
    if protocol in (2, 4):
        files = (1, 3, 5) if test else (1, 2, 4)
    if protocol in (3, 4):
        phones = [phone for phone in PHONES if (phone == fold) == test]
    return [Name(p, s, u, f) for p in phones for s in sessions for u in sorted(users) for f in files]


def check_protocol(protocol: int, fold: int | None) -> None:
    """Raises ValueError unless there is such a protocol and fold."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol}: OULU-NPU has 1, 2, 3 and 4")
    if protocol in (3, 4) and fold not in FOLDS:
        raise ValueError(f"protocol {protocol}, fold {fold}: give a fold from 1 to 6, the test phone")
    if protocol in (1, 2) and fold is not None:
        raise ValueError(f"protocol {protocol}, fold {fold}: only protocols 3 and 4 have folds; leave it out")


def protocol_path(root: Path, protocol: int, fold: int | None, split: Split) -> Path:
    """Path of the list of a protocol, fold and split."""
    suffix = "" if fold is None else f"_{fold}"
    return root / "Protocols" / f"Protocol_{protocol}" / f"{LISTS[split]}{suffix}.txt"


def write_protocols(root: Path, users_by_split: Mapping[Split, Iterable[int]]) -> list[Path]:
    """Writes Protocols/ for a data set of these users. Returns the files, 4 protocols with all folds and splits: 42."""
    written = []
    for protocol in PROTOCOLS:
        for fold in FOLDS if protocol in (3, 4) else (None,):
            for split, users in users_by_split.items():
                path = protocol_path(root, protocol, fold, split)
                names = protocol_names(protocol, fold, split, users)
                write_whole_text(path, "".join(f"{CODES[name.file]:+d},{name}\n" for name in names))
                written.append(path)
    return written


def read_oulu(root: Path, protocol: int, fold: int | None, split: Split) -> Reading:
    """The videos of one split of one protocol. Without a folder Protocols/, the list follows the documented rules for
    the users in the split's folder.

    Args:
        root: folder with Train_files, Dev_files and Test_files.
        protocol: 1 to 4.
        fold: 1 to 6 for protocols 3 and 4, else None.
    """
    check_protocol(protocol, fold)
    reading = Reading()
    folder = _folder(root, split, reading.problems)
    if folder is None:
        return reading
    if (root / "Protocols").is_dir():
        source = protocol_path(root, protocol, fold, split)
        names = _listed(source, reading.problems)
        remedy = "lists no video; delete Protocols/ to use the rules"
    else:
        source = folder
        users = {name.user for path in visible_videos(folder) if (name := Name.parse(path.stem))}
        names = protocol_names(protocol, fold, split, users)
        remedy = "no video is named Phone_Session_User_File, as 1_1_01_1.avi; give a manifest for other names"
    reading.listed, reading.lacking = len(names), "" if names else f"{source}: {remedy}"
    reading.videos = _present(names, folder, split, reading.problems)
    return reading


def read_oulu_split(root: Path, split: Split) -> Reading:
    """Every video in a split's folder, for the cache of crops; the protocols' lists are not read."""
    reading = Reading()
    folder = _folder(root, split, reading.problems)
    if folder is None:
        return reading
    names = []
    for path in visible_videos(folder):
        name = Name.parse(path.stem)
        if name is None or str(name) != path.stem:
            reading.problems.add("wrong layout", path, "not named Phone_Session_User_File, as 1_1_01_1.avi; rename it")
        else:
            names.append(name)
    reading.listed, reading.lacking = len(names), "" if names else f"{folder}: no video in OULU-NPU's naming"
    reading.videos = _present(names, folder, split, reading.problems)
    return reading


def read_eyes(path: Path) -> NDArray[np.int64]:
    """A video's eyes from its .txt: int64 (n, 5), rows frame, xR, yR, xL, yL in px; R is the person's right eye."""
    return np.loadtxt(path, np.int64, delimiter=",", ndmin=2)


def visible_videos(folder: Path) -> list[Path]:
    """The folder's .avi files, sorted, without hidden ones: an interrupted writer can leave a partial file."""
    return sorted(path for path in folder.glob("*.avi") if not path.name.startswith("."))


def _folder(root: Path, split: Split, problems: Problems) -> Path | None:
    folder = root / FOLDERS[split]
    if folder.is_dir():
        return folder
    expected = ", ".join(FOLDERS[each] for each in SPLITS)
    problems.add("wrong layout", folder, f"no such folder; the data set's folder must hold {expected}")
    return None


def _listed(path: Path, problems: Problems) -> list[Name]:
    """The names in a protocol file; invalid lines are reported by number."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(
            "wrong layout", path, f"can't be read ({type(error).__name__}); delete Protocols/ to use the rules"
        )
        return []
    names: dict[str, Name] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        label, _, text = (part.strip() for part in line.partition(","))
        if not label and not text:
            continue
        name = Name.parse(text)
        if name is None:
            problems.add("wrong layout", where, f"{line!r} is not `label,Phone_Session_User_File`")
        elif label not in ("1", "+1", "-1", "-2"):
            problems.add("missing label", where, f"{label!r} for {text}; 1 is bona fide, -1 print, -2 replay")
        elif int(label) != CODES[name.file]:
            kind = INSTRUMENTS[name.file]
            problems.add("label contradicts name", where, f"{label} for {text}, whose file code means {kind}; left out")
        elif text in names:
            problems.add("listed twice", where, f"{text}; its first line counts, this one is left out")
        else:
            names[text] = name
    return list(names.values())


def _present(names: Iterable[Name], folder: Path, split: Split, problems: Problems) -> list[Video]:
    videos = []
    for name in names:
        path = folder / f"{name}.avi"
        if not path.is_file():
            problems.add("missing video", path, "no such file; copy it again")
        elif path.stat().st_size == 0:
            problems.add("unreadable video", path, "the file is empty (0 bytes); copy it again")
        else:
            videos.append(name.video(path, split))
    return videos
