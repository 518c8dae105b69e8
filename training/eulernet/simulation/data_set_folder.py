# SPDX-License-Identifier: Apache-2.0
"""A simulated data set's folder: its record, its protocol lists and its missing videos."""

import json
from dataclasses import asdict
from pathlib import Path

from eulernet.datasets.oulu import FILES, FOLDERS, PHONES, SESSIONS, Name, write_protocols
from eulernet.datasets.records import Split
from eulernet.simulation.presets import FPS, Preset, split_users
from eulernet_core.whole_files import write_whole_text

RECORD = "simulated.json"


class LayoutError(RuntimeError):
    """The folder belongs to another data set."""


def prepare(root: Path, seed: int, preset: Preset) -> dict[Split, list[int]]:
    """Makes the folders, the protocol lists and the record; returns the users by split.

    Raises:
        LayoutError: the folder has files of another seed, size or version of the simulator, or other files.
    """
    # A folder has videos of one version only.
    record = {"simulated": True, "seed": seed, **asdict(preset)}
    if preset.fps == FPS:
        del record["fps"]  # folders made before there were other rates have no such entry
    path = root / RECORD
    if path.is_file():
        found = json.loads(path.read_text())
        if found != record:
            differing = ", ".join(f"{key} {found.get(key)}" for key in record if found.get(key) != record[key])
            raise LayoutError(f"{root}: has a data set with {differing}; give another folder, or delete this one")
    elif root.exists() and any(root.iterdir()):
        raise LayoutError(f"{root}: not empty and without {RECORD}; give a new folder")
    users = split_users(preset.users)
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for partial in (root / folder).glob(".*"):  # of a killed process
            partial.unlink()
    write_whole_text(path, json.dumps(record, indent=2) + "\n")
    write_protocols(root, users)
    return users


def video_path(root: Path, split: Split, name: Name) -> Path:
    """Path of a video."""
    return root / FOLDERS[split] / f"{name}.avi"


def missing(root: Path, users: dict[Split, list[int]]) -> tuple[list[tuple[Split, Name]], int]:
    """The missing videos, sorted by user, and the number of all videos."""
    every = [
        (split, Name(phone, session, user, file))
        for split, numbers in users.items()
        for user in numbers
        for session in SESSIONS
        for phone in PHONES
        for file in FILES
    ]
    # The video is written after its eye file.
    return [(split, name) for split, name in every if not video_path(root, split, name).is_file()], len(every)
