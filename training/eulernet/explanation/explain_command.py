# SPDX-License-Identifier: Apache-2.0
"""`eulernet explain`: pictures of a network's attention in videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet.command_options import PICTURE_SUFFIXES, face_models_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eulernet.explanation.attention_picture import Shown
    from eulernet.faces import FaceFinder
    from eulernet.learning.checkpoint import Checkpoint

TWINS = ("frozen", "moved_pace")  # of the stress instruments


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="MODEL VIDEO...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture of all levels (.png, .svg, .pdf); FILE_level1, … are written to the same folder.",
)
@click.option("--untrained", is_flag=True, help="Use the untrained network in place of MODEL.")
@click.option("--start", type=click.IntRange(0), help="First frame of the clip.  [default: the clip in the middle]")
@click.option(
    "--twins",
    is_flag=True,
    help="Also draw two attacks made from each clip: its first frame held still, and moved as a plane.",
)
@click.option("--label", "labels", multiple=True, help="Title of each VIDEO, in their order.  [file name]")
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another checkpoint, such as one without FCAM, to compare with MODEL in FILE_beside; may be repeated.",
)
@face_models_option
def explain(
    files: tuple[Path, ...],
    out: Path,
    untrained: bool,
    start: int | None,
    twins: bool,
    labels: tuple[str, ...],
    beside: tuple[Path, ...],
    face_models: Path,
) -> None:
    """Draw the attention of MODEL, a checkpoint (.pt), in one clip of each VIDEO.

    The picture shows for each of the four frames: the face, the gates and the filter responses of FCAM's three levels,
    the face location map and the liveness. A page per level shows every gate and the frequency response of its filter.
    With --twins the same is shown for attacks that differ from the clip over time alone.
    Unusable videos are reported and skipped; the exit status is then 1.
    """
    from eulernet.faces import FaceFinder, FaceModelsError, FaceSettings

    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(f"--out {out}: use one of the suffixes {', '.join(PICTURE_SUFFIXES)}")
    videos = files if untrained else files[1:]
    if not videos:
        raise click.UsageError(f"{files[0]}: no VIDEO after it; give MODEL VIDEO..., or --untrained VIDEO...")
    if labels and len(labels) != len(videos):
        raise click.UsageError(f"--label: {len(labels)} for {len(videos)} videos; give one for each, or none")
    paths = [None if untrained else files[0], *beside]
    networks = _networks(paths)
    scales = [each.network.config.box_scale for each in networks]
    if len(set(scales)) > 1:
        raise click.ClickException(f"the networks see crops of {', '.join(map(str, scales))} times the detected box")
    try:
        finder = FaceFinder(face_models, FaceSettings(box_scale=scales[0]))
    except FaceModelsError as error:
        raise click.ClickException(str(error)) from error
    names = labels or tuple(video.stem for video in videos)
    shown, drawn = _shown(networks, list(zip(videos, names, strict=True)), finder, start, TWINS if twins else ())
    if drawn:
        titles = [_title(path, network) for path, network in zip(paths, networks, strict=True)]
        _draw(networks, titles, shown, out)
    if drawn < len(videos):
        raise click.ClickException(f"{len(videos) - drawn} of {len(videos)} videos could not be explained")


def _title(path: Path | None, checkpoint: Checkpoint) -> str:
    parts = ([str(path)] if path else []) + [f"weights: {checkpoint.label}"]
    return ", ".join(parts if checkpoint.network.config.fcam else [*parts, "no FCAM"])


def _networks(paths: Sequence[Path | None]) -> list[Checkpoint]:
    """The checkpoints; None means the untrained network."""
    from eulernet.learning.checkpoint import Checkpoint, CheckpointError, load
    from eulernet.network import create

    checkpoints = []
    for path in paths:
        try:
            checkpoints.append(Checkpoint(create()) if path is None else load(path))
        except CheckpointError as error:
            remedy = "give a checkpoint of `eulernet train`, or --untrained for an untrained network"
            raise click.ClickException(f"{str(error).splitlines()[0]}\n{remedy}") from error
    return checkpoints


def _shown(
    networks: Sequence[Checkpoint],
    labels: Sequence[tuple[Path, str]],
    finder: FaceFinder,
    start: int | None,
    twins: Sequence[str],
) -> tuple[list[list[Shown]], int]:
    """For each network the usable videos with their twins, and their number; others are reported on standard error."""
    from eulernet.explanation.attention import attend
    from eulernet.explanation.attention_picture import Shown
    from eulernet.explanation.clip import face_clip
    from eulernet.scoring.stress import stressed
    from eulernet.simulation.origin import is_simulated
    from eulernet_core.errors import MediaError

    result: list[list[Shown]] = [[] for _ in networks]
    usable = 0
    for video, label in labels:
        try:
            face = face_clip(video, finder, start)
        except MediaError as error:
            click.echo(str(error), err=True)
            continue
        usable += 1
        name = f"{label} (simulated)" if is_simulated(video) else label
        clips = {name: face}
        for twin in twins:
            made = stressed(twin, face.clip, face.box_px, f"{video.stem} {face.start}")
            clips[f"{name}, {twin}"] = replace(face, clip=made)
        for checkpoint, videos in zip(networks, result, strict=True):
            network = checkpoint.network
            for text, clip in clips.items():
                videos.append(Shown(text, clip.start, attend(network, clip.crops(network.config.image_size))))
    return result, usable


def _draw(networks: Sequence[Checkpoint], titles: Sequence[str], shown: Sequence[Sequence[Shown]], out: Path) -> None:
    """Writes all pictures and prints their paths."""
    from eulernet.explanation import attention_picture as picture
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
