"""`eulernet train`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eulernet.datasets.clips import ClipDataset
    from eulernet.learning.settings import Settings

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder in OULU-NPU's layout, real or simulated, or a manifest CSV (path,label,instrument,subject,split).",
)
@click.option("--out", required=True, type=FOLDER, help="Folder of the run; a run that is there goes on.")
@click.option("--label", default="trained", show_default=True, help="What the weights are called wherever they score.")
@click.option(
    "--start-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint to go on learning from, such as training/weights/eulernet.pt.  [drawn by the seed]",
)
@click.option("--crops", type=FOLDER, default="out/crops", show_default=True, help="Folder of the cached face crops.")
@click.option("--face-models", type=FOLDER, default="out/face_models", show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes that cut the faces out.")
def train(
    config: Path,
    data: Path,
    out: Path,
    label: str,
    start_from: Path | None,
    crops: Path,
    face_models: Path,
    jobs: int,
) -> None:
    """Train EulerNet as CONFIG (TOML) says; OUT/weights.pt is the best epoch by dev EER, calibrated on the dev set.

    A run that was stopped or killed goes on from its last finished epoch when it is started again.
    """
    from rich.console import Console
    from rich.progress import Progress

    from eulernet.datasets import DatasetError
    from eulernet.faces import FaceModelsError
    from eulernet.learning.calibration import publish
    from eulernet.learning.curve import draw_curves
    from eulernet.learning.settings import SettingsError, read_settings
    from eulernet.learning.trainer import Trainer, TrainingError

    try:
        settings = read_settings(config)
        train_set, dev_set = (_clips(settings, data, split, crops, face_models, jobs) for split in ("train", "dev"))
        trainer = Trainer(settings, train_set, dev_set, out, label, start_from)
        click.echo(f"{len(train_set)} clips to learn from, {len(dev_set)} to choose the epoch by; {trainer.device}")
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("training", total=trainer.steps_left)
            checkpoint = trainer.run(click.echo, lambda: bar.advance(task))
        weights = publish(out, dev_set)
    except (SettingsError, DatasetError, FaceModelsError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    draw_curves({out.name: checkpoint.history}, out / "eer.png", f"{label}: dev EER by epoch")
    best = min(checkpoint.history, key=lambda row: (row["dev_eer"], row["dev_loss"]))
    click.echo(f"{weights}: epoch {best['epoch']:.0f}, dev EER {100 * best['dev_eer']:.2f} %")


def _clips(settings: "Settings", data: Path, split: str, crops: Path, models: Path, jobs: int) -> "ClipDataset":
    from eulernet.datasets import read_manifest, read_oulu
    from eulernet.datasets.clips import ClipDataset
    from eulernet.datasets.crops import CropSettings, build_crop_cache

    wanted = settings.data
    if data.is_file():
        reading = read_manifest(data, split)  # type: ignore[arg-type]
    else:
        reading = read_oulu(data, wanted.protocol, wanted.fold or None, split)  # type: ignore[arg-type]
    network = settings.network
    cut = CropSettings(clips_per_video=wanted.clips_per_video, size_px=network.image_size, label_side=network.map_size)
    cache = build_crop_cache(reading.require(), crops, models, cut, processes=jobs)
    for problems in (reading.problems, cache.problems):
        if len(problems):
            click.echo(problems.summary(), err=True)
    return ClipDataset(cache, wanted.label)  # type: ignore[arg-type]
