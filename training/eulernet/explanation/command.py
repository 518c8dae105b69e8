"""`eulernet explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eulernet.explanation.picture import Shown
    from eulernet.faces import FaceFinder
    from eulernet.learning.checkpoint import Checkpoint

PICTURES = (".png", ".svg", ".pdf", ".jpg")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="MODEL VIDEO...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture of all levels (.png, .svg, .pdf); FILE_level1, … are written beside it.",
)
@click.option("--untrained", is_flag=True, help="The network before any training; then there is no MODEL.")
@click.option("--start", type=click.IntRange(0), help="First frame of the clip.  [default: the clip in the middle]")
@click.option("--label", "labels", multiple=True, help="Of each VIDEO, in their order; else its name.")
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another checkpoint, such as one without FCAM, to draw beside MODEL into FILE_beside; may be repeated.",
)
@click.option(
    "--face-models",
    type=click.Path(file_okay=False, path_type=Path),
    default="out/face_models",
    show_default=True,
    help="Folder of the face detector (`eulernet face-models`).",
)
def explain(
    files: tuple[Path, ...],
    out: Path,
    untrained: bool,
    start: int | None,
    labels: tuple[str, ...],
    beside: tuple[Path, ...],
    face_models: Path,
) -> None:
    """Draw what MODEL, a checkpoint (.pt), attends to in one clip of each VIDEO.

    For each of the four frames: the face, the gates of FCAM's three levels with what their filters answer, the face
    location map and the liveness. A page a level shows every gate and its filter's frequency response. A video that
    can't be used is named, and the rest goes on; the exit status is then 1.
    """
    from eulernet.faces import FaceFinder, FaceModelsError

    if out.suffix.lower() not in PICTURES:
        raise click.UsageError(f"--out {out}: name it {', '.join(PICTURES)}")
    videos = files if untrained else files[1:]
    if not videos:
        raise click.UsageError(f"{files[0]}: no VIDEO after it; give MODEL VIDEO..., or --untrained VIDEO...")
    if labels and len(labels) != len(videos):
        raise click.UsageError(f"--label: {len(labels)} for {len(videos)} videos; give one for each, or none")
    paths = [None if untrained else files[0], *beside]
    networks = _networks(paths)
    try:
        finder = FaceFinder(face_models)
    except FaceModelsError as error:
        raise click.ClickException(str(error)) from error
    names = labels or tuple(video.stem for video in videos)
    shown = _shown(networks, list(zip(videos, names, strict=True)), finder, start)
    drawn = len(shown[0])
    if drawn:
        titles = [_title(path, network) for path, network in zip(paths, networks, strict=True)]
        _draw(networks, titles, shown, out)
    if drawn < len(videos):
        raise click.ClickException(f"{len(videos) - drawn} of {len(videos)} videos could not be explained")


def _title(path: Path | None, checkpoint: Checkpoint) -> str:
    parts = ([str(path)] if path else []) + [f"weights: {checkpoint.label}"]
    return ", ".join(parts if checkpoint.network.config.fcam else [*parts, "no FCAM"])


def _networks(paths: Sequence[Path | None]) -> list[Checkpoint]:
    """The checkpoints to look into; None stands for the untrained network."""
    from eulernet.learning.checkpoint import Checkpoint, CheckpointError, load
    from eulernet.network import create

    checkpoints = []
    for path in paths:
        try:
            checkpoints.append(Checkpoint(create()) if path is None else load(path))
        except CheckpointError as error:
            remedy = "give a checkpoint of `eulernet train`, or --untrained to see a network before any training"
            raise click.ClickException(f"{str(error).splitlines()[0]}\n{remedy}") from error
    return checkpoints


def _shown(
    networks: Sequence[Checkpoint], labels: Sequence[tuple[Path, str]], finder: FaceFinder, start: int | None
) -> list[list[Shown]]:
    """For each network the videos that can be used; the others are named on standard error."""
    from eulernet.datasets.video import VideoError
    from eulernet.explanation.attention import attend
    from eulernet.explanation.clip import face_clip
    from eulernet.explanation.picture import Shown
    from eulernet.simulation.origin import is_simulated

    result: list[list[Shown]] = [[] for _ in networks]
    for video, label in labels:
        try:
            face = face_clip(video, finder, start)
        except VideoError as error:
            click.echo(str(error), err=True)
            continue
        name = f"{label} (simulated)" if is_simulated(video) else label
        for checkpoint, videos in zip(networks, result, strict=True):
            network = checkpoint.network
            videos.append(Shown(name, face.clip.start, attend(network, face.crops(network.config.image_size))))
    return result


def _draw(networks: Sequence[Checkpoint], titles: Sequence[str], shown: Sequence[Sequence[Shown]], out: Path) -> None:
    """Writes all pictures and says where."""
    from eulernet.explanation import picture
    from eulernet.explanation.attention import coefficients

    figures = {out: picture.overview(shown[0], titles[0])}
    for level, filters in enumerate(coefficients(networks[0].network)):
        path = out.with_name(f"{out.stem}_level{level + 1}{out.suffix}")
        figures[path] = picture.level_page(shown[0], level, filters, f"{titles[0]}, level {level + 1}")
    if len(networks) > 1:
        path = out.with_name(f"{out.stem}_beside{out.suffix}")
        figures[path] = picture.side_by_side(list(zip(titles, shown, strict=True)), "the clip's last frame")
    for path, figure in figures.items():
        try:
            picture.save(figure, path)
        except OSError as error:
            raise click.ClickException(f"{path}: can't be written ({error.strerror})") from error
        click.echo(str(path))
