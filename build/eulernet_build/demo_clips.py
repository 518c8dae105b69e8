"""`eulernet demo-clips`: three simulated videos to try the system on: a living face, a print of it, a replay of it.

Their subjects come from a seed of their own, so that no training on a simulated data set has seen them.
"""

from pathlib import Path

import click

SEED = 2022  # `eulernet simulate` starts at 1 and takes what it is given: keep this one for demonstrations
USERS = (36, 37, 38)
CLIPS = {"bona_fide": 1, "print": 2, "replay": 4}  # file code in OULU-NPU's sense
FRAMES = 48


def make_demo_clips(out: Path, seed: int = SEED) -> list[Path]:
    """Writes CLIPS as `<name>.mp4` into `out`, each of another subject; the same seed gives the same frames."""
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
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo/clips"),
    show_default=True,
    help="Folder for the clips.",
)
@click.option("--seed", default=SEED, show_default=True, help="Another number gives other people.")
def demo_clips(out: Path, seed: int) -> None:
    """Make three short simulated videos: a living face, a print, a replay on a display."""
    for path in make_demo_clips(out, seed):
        click.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")
