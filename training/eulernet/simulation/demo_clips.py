# SPDX-License-Identifier: Apache-2.0
"""`eulernet demo-clips`: three simulated videos for a demonstration: a live face, a print and a replay.

Their seed is reserved for them, so that their subjects are in no simulated training set. Imports neither torch nor the
served models.
"""

from pathlib import Path

import click

from eulernet.command_options import FOLDER

SEED = 2022  # do not give it to `eulernet simulate`, whose default is 1
USERS = (36, 37, 38)
CLIPS = {"bona_fide": 1, "print": 2, "replay": 4}  # file code in OULU-NPU's sense
FRAMES = 48


def make_demo_clips(out: Path, seed: int = SEED) -> list[Path]:
    """Writes CLIPS as `<name>.mp4` into `out`, each with another subject; the seed determines the frames."""
    from fractions import Fraction

    from eulernet.datasets.mp4 import write_mp4
    from eulernet.datasets.oulu import Name
    from eulernet.simulation.attempt import Attempt
    from eulernet.simulation.camera import FPS
    from eulernet.simulation.presets import PRESETS

    paths = []
    for number, (name, file) in enumerate(CLIPS.items()):
        attempt = Attempt(Name(1 + number, 3, USERS[number], file), seed, PRESETS["small"].with_frames(FRAMES))
        paths.append(out / f"{name}.mp4")
        write_mp4(paths[-1], (shot.picture for shot in attempt.shots()), Fraction(FPS))
    return paths


@click.command("demo-clips")
@click.option(
    "--out",
    type=FOLDER,
    default="out/demo/clips",
    show_default=True,
    help="Folder for the clips.",
)
@click.option("--seed", default=SEED, show_default=True, help="Determines the subjects.")
def demo_clips(out: Path, seed: int) -> None:
    """Render three short simulated videos: a live face, a print, and a replay on a display."""
    for path in make_demo_clips(out, seed):
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")
