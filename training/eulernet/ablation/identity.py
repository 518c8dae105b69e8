"""Which recipe and which data a result belongs to, whatever folder they lie in: results of others are not mixed in."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eulernet.ablation.plan import ABLATED_PROTOCOL, FULL, Run
from eulernet.datasets.crops import VERSION as CROPS_VERSION
from eulernet.datasets.crops import CropSettings
from eulernet.datasets.oulu import FOLDERS
from eulernet.datasets.records import DatasetError
from eulernet.learning.settings import Settings
from eulernet.simulation.layout import RECORD

VERSION = 2  # of how a run is trained and scored: raised when the same recipe would give other figures
_DIGITS = 12


@dataclass(frozen=True)
class DataIdentity:
    """`digest`: 12 hexadecimal digits; `simulated`: whether the simulator made the data."""

    digest: str
    simulated: bool


def crop_settings(recipe: Settings) -> CropSettings:
    """The crops that `eulernet train` cuts for this recipe."""
    network = recipe.network
    return CropSettings(
        clips_per_video=recipe.data.clips_per_video, size_px=network.image_size, label_side=network.map_size
    )


def recipe_digest(recipe: Settings) -> str:
    """Of everything that all runs share: not of seed, protocol, fold, label, FCAM and pyramid.

    Only what differs from the defaults counts, so that a setting that comes later leaves the recipes alone that do not
    use it. A default that changes takes another VERSION.
    """
    shared = Run(FULL, ABLATED_PROTOCOL, 0, recipe.seed).settings(recipe)
    return _digest([VERSION, CROPS_VERSION, _chosen(shared), dataclasses.asdict(crop_settings(recipe))])


def _chosen(recipe: Settings) -> dict[str, dict[str, Any]]:
    """By section, the values that are not the defaults; a section without any is left out."""
    chosen = {}
    for section, defaults in dataclasses.asdict(Settings()).items():
        if isinstance(defaults, dict):
            values = dataclasses.asdict(getattr(recipe, section))
            chosen[section] = {name: value for name, value in values.items() if value != defaults[name]}
    return {section: values for section, values in chosen.items() if values}


def data_identity(root: Path) -> DataIdentity:
    """Of the simulator's record, or else of the protocol lists; and of which videos there are, so that a half-copied
    or half-simulated data set is another one.

    Raises:
        DatasetError: the record can't be read.
    """
    names = {split: sorted(path.stem for path in (root / folder).glob("*.avi")) for split, folder in FOLDERS.items()}
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
