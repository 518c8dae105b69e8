# SPDX-License-Identifier: Apache-2.0
"""Digests of the recipe and of the data behind a result, independent of paths, so that results are not mixed."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eulernet.ablation.plan import ABLATED_PROTOCOL, FULL, Run
from eulernet.datasets.crops import VERSION as CROPS_VERSION
from eulernet.datasets.crops import CropSettings
from eulernet.datasets.oulu import FOLDERS, visible_videos
from eulernet.datasets.records import DatasetError
from eulernet.learning.settings import Settings
from eulernet.simulation.data_set_folder import RECORD

VERSION = 2  # of training and scoring; increased when the same recipe would give other figures
_DIGITS = 12


@dataclass(frozen=True)
class DataIdentity:
    """`digest`: 12 hexadecimal digits; `simulated`: whether the data is simulated."""

    digest: str
    simulated: bool


def crop_settings(recipe: Settings) -> CropSettings:
    """The crop settings of `eulernet train` for this recipe."""
    network = recipe.network
    return CropSettings(
        clips_per_video=recipe.data.clips_per_video, size_px=network.image_size, label_side=network.map_size
    )


def recipe_digest(recipe: Settings) -> str:
    """Digest of the settings that all runs share: all but seed, protocol, fold, label, FCAM and pyramid.

    Values that equal the defaults are left out, so that a new setting does not change the digest of older recipes. A
    changed default needs another VERSION.
    """
    shared = Run(FULL, ABLATED_PROTOCOL, 0, recipe.seed).settings(recipe)
    return _digest([VERSION, CROPS_VERSION, _chosen(shared), dataclasses.asdict(crop_settings(recipe))])


def _chosen(recipe: Settings) -> dict[str, dict[str, Any]]:
    """By section, the values that differ from the defaults; sections without any are left out."""
    chosen = {}
    for section, defaults in dataclasses.asdict(Settings()).items():
        if isinstance(defaults, dict):
            values = dataclasses.asdict(getattr(recipe, section))
            chosen[section] = {name: value for name, value in values.items() if value != defaults[name]}
    return {section: values for section, values in chosen.items() if values}


def data_identity(root: Path) -> DataIdentity:
    """Identity of a data set in OULU-NPU's layout: the simulator's record or else the protocol lists, and the names of
    the videos, so that an incomplete copy has another digest.

    Raises:
        DatasetError: the record can't be read.
    """
    names = {split: [path.stem for path in visible_videos(root / folder)] for split, folder in FOLDERS.items()}
    record = root / RECORD
    if record.is_file():
        try:
            return DataIdentity(_digest([json.loads(record.read_text()), names]), True)
        except ValueError as error:
            raise DatasetError(f"{record}: not JSON ({error}); simulate the data set again") from error
    lists = root / "Protocols"
    listed = {path.relative_to(lists).as_posix(): path.read_text().split() for path in lists.rglob("*.txt")}
    return DataIdentity(_digest([listed, names]), False)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]
