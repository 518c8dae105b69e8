"""`eulernet simulate`: a data set of drawn faces in OULU-NPU's layout, for those without a licence for the real one."""

from pathlib import Path

import click

_PRESET_NAMES = ("tiny", "small", "full")


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the data set.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Other people, other videos.")
@click.option("--preset", default="small", show_default=True, type=click.Choice(_PRESET_NAMES), help="Sizes.")
@click.option("--users", type=click.IntRange(3, 55), help="Subjects, split 20/15/20 as in the original. [preset's]")
@click.option("--frames", type=click.IntRange(1, 300), help="Frames a video, 30 a second. [preset's]")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes.")
def simulate(out: Path, seed: int, preset: str, users: int | None, frames: int | None, jobs: int) -> None:
    """Simulate OULU-NPU: live faces, prints and replays before six phones in three sessions.

    Every video depends on the seed and its own name only. Stopped and started again, it goes on where it was.
    """
    from dataclasses import replace

    from eulernet.simulation.layout import LayoutError
    from eulernet.simulation.presets import PRESETS

    chosen = PRESETS[preset]
    chosen = replace(chosen, users=users or chosen.users, frames=frames or chosen.frames)
    try:
        from eulernet.simulation.run import simulate as run

        made, total = run(out, seed, chosen, jobs, progress=True)
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{out}: {total} simulated videos of {chosen.users} users, {made} made now")
