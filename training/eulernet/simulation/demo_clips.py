# SPDX-License-Identifier: Apache-2.0
"""`eulernet demo-clips`: four simulated videos for a demonstration: a live face, a print, a replay and a moved still.

Their seed is reserved for them, so that their subjects are in no simulated training set. Imports neither torch nor the
served models.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from eulernet.command_options import FOLDER

if TYPE_CHECKING:
    from eulernet.simulation.randomness import Pixels

SEED = 2026  # of people that show the verdicts right; do not give it to `eulernet simulate`, whose default is 1
USERS = (36, 37, 38)
CLIPS = {"bona_fide": 1, "print": 2, "replay": 4}  # file code in OULU-NPU's sense
MOVED_STILL = "moved_still"  # one frame of the live face, moved as a plane: nothing but time tells it from the face
FRAMES = 48
_SHIFT_PX, _TURN_RAD, _ZOOM = 7.0, 0.02, 0.02  # standard deviations; living faces move as far


def make_demo_clips(out: Path, seed: int = SEED) -> list[Path]:
    """Writes CLIPS and MOVED_STILL as `<name>.mp4` into `out`; the seed determines the frames.

    Each of CLIPS has another subject, and the still is of the first.
    """
    from fractions import Fraction

    from eulernet.datasets.mp4 import write_mp4
    from eulernet.datasets.oulu import Name
    from eulernet.simulation.attempt import Attempt
    from eulernet.simulation.presets import FPS, PRESETS

    paths = []
    for number, (name, file) in enumerate(CLIPS.items()):
        attempt = Attempt(Name(1 + number, 3, USERS[number], file), seed, PRESETS["full"].with_frames(FRAMES))
        pictures = [shot.picture for shot in attempt.shots()]
        paths.append(out / f"{name}.mp4")
        write_mp4(paths[-1], pictures, Fraction(FPS))
        if file == 1:
            still = pictures[0]
    paths.append(out / f"{MOVED_STILL}.mp4")
    write_mp4(paths[-1], _moved(still, seed, FPS), Fraction(FPS))
    return paths


def _moved(still: "Pixels", seed: int, rate_fps: float) -> Iterator["Pixels"]:
    """A picture, uint8 (H, W, 3), shifted, turned and zoomed by a hand: FRAMES pictures of its shape."""
    from eulernet.simulation.motion import Path as Motion
    from eulernet.simulation.opencv import cv2
    from eulernet.simulation.randomness import stream

    height, width = still.shape[:2]
    hand = Motion(stream(seed, MOVED_STILL), 4)
    for index in range(FRAMES):
        x, y, turn, zoom = (float(value) for value in hand(index / rate_fps))
        way = cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(_TURN_RAD * turn), 1 + _ZOOM * zoom)
        way[:, 2] += _SHIFT_PX * x, _SHIFT_PX * y
        yield np.asarray(cv2.warpAffine(still, way, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


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
    """Render four short simulated videos: a live face, a print, a replay on a display, and a moved still."""
    for path in make_demo_clips(out, seed):
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")
