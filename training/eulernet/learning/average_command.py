# SPDX-License-Identifier: Apache-2.0
"""`eulernet average`."""

from pathlib import Path

import click

from eulernet.command_options import (
    EXISTING_FILE,
    FILE,
    crops_option,
    data_option,
    face_models_option,
    jobs_option,
)


@click.command()
@click.argument("config")
@click.argument("checkpoints", nargs=-1, required=True, type=EXISTING_FILE)
@click.option("--share", "shares", type=float, multiple=True, help="Of each checkpoint, in their order.  [equal]")
@data_option
@click.option("--out", required=True, type=FILE, help="File for the weights.")
@click.option("--label", default="trained", show_default=True, help="Name of the weights, sent with every verdict.")
@click.option(
    "--batches",
    default=120,
    show_default=True,
    type=click.IntRange(1),
    help="Batches of training clips that measure the normalisations.",
)
@crops_option
@face_models_option
@jobs_option
def average(
    config: str,
    checkpoints: tuple[Path, ...],
    shares: tuple[float, ...],
    data: Path,
    out: Path,
    label: str,
    batches: int,
    crops: Path,
    face_models: Path,
    jobs: int,
) -> None:
    """Write the mean of several EulerNet CHECKPOINTS, calibrated on the development set.

    CONFIG is the recipe of the runs, as for `eulernet train`. The runs should have continued from the same weights;
    these can be one of the checkpoints.
    """
    from eulernet.datasets import DatasetError
    from eulernet.faces import FaceModelsError
    from eulernet.learning.averaging import average as mean
    from eulernet.learning.averaging import renormalise
    from eulernet.learning.calibration import calibrate, map_means, videos_of
    from eulernet.learning.checkpoint import AnyCheckpoint, load_any, save
    from eulernet.learning.settings import SettingsError, find_recipe, read_settings
    from eulernet.learning.train_command import clips_of
    from eulernet.learning.trainer import TrainingError, start_network
    from eulernet.learning.widened_clips import widened
    from eulernet.network import EulerNet

    try:
        settings = read_settings(find_recipe(config))
        networks = [start_network(settings, path) for path in checkpoints]
        of_method = [each for each in networks if isinstance(each, EulerNet)]
        if len(of_method) < len(networks):
            raise click.UsageError(f"{config}: its system is {settings.system}; give a recipe of EulerNet")
        network = mean(of_method, shares or [1.0] * len(networks))
        train_set, dev_set = (clips_of(settings, data, split, crops, face_models, jobs) for split in ("train", "dev"))
        renormalise(network, settings, train_set, batches)
        dev_clips = widened(dev_set, settings.twins)
        calibrate(network, map_means(network, dev_clips), videos_of(dev_clips))
    except (SettingsError, DatasetError, FaceModelsError, TrainingError) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:  # the shares
        raise click.UsageError(str(error)) from error
    last = load_any(checkpoints[-1])
    save(out, AnyCheckpoint(network, last.epoch, label, last.history, last.settings))
    click.echo(f"{out}: the mean of {len(checkpoints)} checkpoints, threshold {float(network.threshold):.4f}")
