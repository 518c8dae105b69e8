"""A simulated data set's folder: its record, which videos are missing, and writing one of them whole or not at all."""

import json
from dataclasses import asdict
from pathlib import Path

from eulernet.datasets.oulu import FILES, FOLDERS, PHONES, SESSIONS, Name, write_protocols
from eulernet.datasets.records import Split
from eulernet.simulation.presets import Preset, split_users

RECORD = "simulated.json"
# Another version of the simulator gives other pictures for the same seed: a folder holds one version's only.
VERSION = 3


class LayoutError(RuntimeError):
    """The folder holds another data set than the one that is to be written into it."""


def prepare(root: Path, seed: int, preset: Preset) -> dict[Split, list[int]]:
    """Makes the folders, the protocol lists and the record; returns the users by split.

    Raises:
        LayoutError: the folder holds files of another seed, size or version, or something else altogether.
    """
    record = {"simulated": True, "version": VERSION, "seed": seed, **asdict(preset)}
    path = root / RECORD
    if path.is_file():
        found = json.loads(path.read_text())
        if found != record:
            differing = ", ".join(f"{key} {found.get(key)}" for key in record if found.get(key) != record[key])
            raise LayoutError(f"{root}: holds a data set with {differing}; give another folder, or delete this one")
    elif root.exists() and any(root.iterdir()):
        raise LayoutError(f"{root}: not empty and without {RECORD}; give a new folder")
    users = split_users(preset.users)
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for left in (root / folder).glob("*.part"):
            left.unlink()
    path.write_text(json.dumps(record, indent=2) + "\n")
    write_protocols(root, users)
    return users


def video_path(root: Path, split: Split, name: Name) -> Path:
    """Where a video lies."""
    return root / FOLDERS[split] / f"{name}.avi"


def missing(root: Path, users: dict[Split, list[int]]) -> tuple[list[tuple[Split, Name]], int]:
    """The videos that are still to be made, sorted by user, and how many there are in all."""
    every = [
        (split, Name(phone, session, user, file))
        for split, numbers in users.items()
        for user in numbers
        for session in SESSIONS
        for phone in PHONES
        for file in FILES
    ]
    # The video is the last of the pair to appear.
    return [(split, name) for split, name in every if not video_path(root, split, name).is_file()], len(every)
