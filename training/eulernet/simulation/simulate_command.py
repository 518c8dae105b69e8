# SPDX-License-Identifier: Apache-2.0
"""`eulernet simulate`: a data set of rendered faces in OULU-NPU's layout, usable without the original's licence."""

from pathlib import Path

import click

from eulernet.command_options import FOLDER

_PRESET_NAMES = ("tiny", "small", "full")
VERSIONS = ("3", "4")


@click.command()
@click.option("--out", type=FOLDER, required=True, help="Folder of the data set.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Determines people and videos.")
@click.option(
    "--preset",
    default="small",
    show_default=True,
    type=click.Choice(_PRESET_NAMES),
    help="Numbers of users and frames, frame size.",
)
@click.option("--users", type=click.IntRange(3, 55), help="Subjects, split 20/15/20 as in OULU-NPU.  [preset's]")
@click.option("--frames", type=click.IntRange(1, 300), help="Frames per video.  [preset's]")
@click.option("--fps", type=click.FloatRange(5, 240), default=30.0, show_default=True, help="Frames/s of the cameras.")
@click.option(
    "--simulator-version",
    type=click.Choice(VERSIONS),
    help="4: the data of the shipped weights, nearer to cameras. 3: before it.  [preset's: full 4, others 3]",
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes.")
def simulate(
    out: Path,
    seed: int,
    preset: str,
    users: int | None,
    frames: int | None,
    fps: float,
    simulator_version: str | None,
    jobs: int,
) -> None:
    """Render a data set like OULU-NPU: live faces, prints and replays, with six phones in three sessions.

    The seed and a video's name determine the video. An interrupted run resumes when the command is given again.
    """
    from dataclasses import replace

    from eulernet.simulation.data_set_folder import LayoutError
    from eulernet.simulation.presets import PRESETS

    chosen = PRESETS[preset]
    version = int(simulator_version) if simulator_version else chosen.version
    chosen = replace(chosen, users=users or chosen.users, frames=frames or chosen.frames, version=version, fps=fps)
    try:
        from eulernet.simulation.rendering import simulate as run

        made, total = run(out, seed, chosen, jobs, progress=True)
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"{out}: {total} simulated videos of {chosen.users} users, {made} of them new (simulator version {version})"
    )
