# SPDX-License-Identifier: Apache-2.0
"""`eulernet train`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet.command_options import (
    EXISTING_FILE,
    FOLDER,
    crops_option,
    data_option,
    face_models_option,
    jobs_option,
)

if TYPE_CHECKING:
    from eulernet.datasets.clips import ClipDataset
    from eulernet.learning.settings import Settings


@click.command()
@click.argument("config")
@data_option
@click.option("--out", required=True, type=FOLDER, help="Folder of the run; an unfinished run in it is resumed.")
@click.option("--protocol", type=click.IntRange(1, 4), help="Protocol of OULU-NPU.  [the recipe's]")
@click.option("--fold", type=click.IntRange(1, 6), help="Fold of protocols 3 and 4, the unseen phone.  [the recipe's]")
@click.option("--label", default="trained", show_default=True, help="Name of the weights, sent with every verdict.")
@click.option(
    "--start-from",
    type=EXISTING_FILE,
    help="Checkpoint with the initial weights, such as training/weights/eulernet.pt.  [random, by the seed]",
)
@crops_option
@face_models_option
@jobs_option
def train(
    config: str,
    data: Path,
    out: Path,
    protocol: int | None,
    fold: int | None,
    label: str,
    start_from: Path | None,
    crops: Path,
    face_models: Path,
    jobs: int,
) -> None:
    """Train EulerNet, or another system, with the settings in CONFIG.

    CONFIG is a TOML file, or the name of a shipped recipe such as default or peers/cdcn; its value `system` names the
    system.

    OUT/weights.pt is the epoch with the lowest EER on the development set, calibrated on that set. A run that was
    stopped or killed resumes after its last finished epoch when the same command is given again.
    """
    from rich.console import Console
    from rich.progress import Progress

    from eulernet.datasets import DatasetError
    from eulernet.faces import FaceModelsError
    from eulernet.learning.calibration import publish
    from eulernet.learning.curve import draw_curves
    from eulernet.learning.settings import SettingsError, find_recipe, read_settings
    from eulernet.learning.trainer import Trainer, TrainingError

    try:
        settings = _of_protocol(read_settings(find_recipe(config)), data, protocol, fold)
        train_set, dev_set = (clips_of(settings, data, split, crops, face_models, jobs) for split in ("train", "dev"))
        trainer = Trainer(settings, train_set, dev_set, out, label, start_from)
        click.echo(f"{len(train_set)} training clips, {len(dev_set)} development clips; {trainer.device}")
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("training", total=trainer.steps_left)
            checkpoint = trainer.run(click.echo, lambda: bar.advance(task))
        best = trainer.best()
        if best is None:
            raise TrainingError(f"{config}: epochs = {settings.optimizer.epochs} are too few for {settings.system}")
        weights = publish(out, trainer.dev_set)
    except (SettingsError, DatasetError, FaceModelsError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    draw_curves({out.name: checkpoint.history}, out / "eer.png", f"{label}: dev EER by epoch")
    click.echo(f"{weights}: epoch {best['epoch']:.0f}, dev EER {100 * best['dev_eer']:.2f} %")


def _of_protocol(settings: "Settings", data: Path, protocol: int | None, fold: int | None) -> "Settings":
    """The settings with another protocol and fold. Raises: click.UsageError."""
    from eulernet.datasets.oulu import check_protocol

    if protocol is None and fold is None:
        return settings
    if data.is_file():
        raise click.UsageError(f"{data}: a manifest has no protocols; leave out --protocol and --fold")
    chosen = protocol or settings.data.protocol
    try:
        check_protocol(chosen, fold)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return replace(settings, data=replace(settings.data, protocol=chosen, fold=fold or 0))


def clips_of(settings: "Settings", data: Path, split: str, crops: Path, models: Path, jobs: int) -> "ClipDataset":
    from eulernet.datasets import read_manifest, read_oulu
    from eulernet.datasets.clips import ClipDataset
    from eulernet.datasets.crops import CropSettings, build_crop_cache
    from eulernet.faces import FaceSettings
    from eulernet.learning.settings import SettingsError
    from eulernet_core.clip_geometry import CLIP_FRAMES

    wanted = settings.data
    if data.is_file():
        reading = read_manifest(data, split)  # type: ignore[arg-type]
    else:
        reading = read_oulu(data, wanted.protocol, wanted.fold or None, split)  # type: ignore[arg-type]
    network = settings.network
    face = FaceSettings(box_scale=settings.box_scale)
    cut = CropSettings(wanted.clips_per_video, size_px=network.image_size, label_side=network.map_size, face=face)
    if split == "train" and wanted.stretch_frames:
        cut = replace(cut, frames=wanted.stretch_frames, interval=1)
    cache = build_crop_cache(reading.require(), crops, models, cut, processes=jobs)
    for problems in (reading.problems, cache.problems):
        if len(problems):
            click.echo(problems.summary(), err=True)
    usable = {entry.video.instrument for entry in cache.entries if entry.clips}
    without = ", ".join(sorted({entry.video.instrument for entry in cache.entries} - usable))
    if without:
        click.echo(f"{split} set: not complete, no clip of {without} can be used; see the problems above", err=True)
    clips = ClipDataset(cache, wanted.label)  # type: ignore[arg-type]
    if cut.frames != CLIP_FRAMES and not len(clips):
        raise SettingsError(f"stretch_frames = {cut.frames}: no {split} video has a face and so many frames; lower it")
    return clips
