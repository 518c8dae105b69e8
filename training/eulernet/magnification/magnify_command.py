# SPDX-License-Identifier: Apache-2.0
"""`eulernet magnify`: Eulerian video magnification of videos, and a picture of the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eulernet.command_options import PICTURE_SUFFIXES, face_models_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from eulernet.faces import FaceFinder
    from eulernet.magnification.magnifier import MagnifierSettings
    from eulernet.magnification.strip import Row

    Picture = NDArray[np.uint8]

OTHER_VIDEOS = (".avi", ".mov", ".mkv", ".webm", ".m4v")


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for NAME_magnified.mp4 of each video; with one video also the .mp4 to write.",
)
@click.option(
    "--strip",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Picture (.png, .svg) of each video: frames, and one column over time, as recorded and magnified.",
)
@click.option("--label", "labels", multiple=True, help="Title of each video in the strip, in their order.  [file name]")
@click.option("--column-px", type=click.IntRange(0), help="Column of the slice through time.  [default: middle]")
@click.option("--face", is_flag=True, help="Magnify only the box around the face of the first frame.")
@face_models_option
@click.option(
    "--pyramid",
    type=click.Choice(["laplacian", "gaussian"]),
    default="laplacian",
    show_default=True,
    help="laplacian magnifies motion, gaussian colour, such as the pulse.",
)
@click.option("--alpha", type=float, help="Factor of the added change.  [default: 10; gaussian 50]")
@click.option("--low-hz", type=float, help="Lower end of the band.  [default: 0.5; gaussian 0.8]")
@click.option("--high-hz", type=float, help="Upper end of the band.  [default: 3]")
@click.option(
    "--wavelength-px",
    type=float,
    help="Shorter waves are magnified less, with gaussian not at all.  [default: 16; gaussian 64]",
)
@click.option("--chroma", type=float, help="Share of alpha for the colour differences.  [default: 0.1; gaussian 1]")
def magnify(
    videos: tuple[Path, ...],
    out: Path | None,
    strip: Path | None,
    labels: tuple[str, ...],
    column_px: int | None,
    face: bool,
    face_models: Path,
    pyramid: str,
    **chosen: float | None,
) -> None:
    """Magnify small changes in VIDEOS: motion, or the colour of the pulse.

    Eulerian video magnification (Wu et al., SIGGRAPH 2012). Size, frame rate and number of frames do not change; sound
    is removed. Unusable videos are reported and skipped; the exit status is then 1.
    """
    from eulernet.faces import FaceFinder, FaceModelsError
    from eulernet.magnification.magnifier import COLOUR, MOTION

    if out is None and strip is None:
        raise click.UsageError("nothing to write: give --out, --strip or both")
    if strip is not None and strip.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(f"--strip {strip}: use one of the suffixes {', '.join(PICTURE_SUFFIXES)}")
    targets = _targets(videos, out)
    if labels and len(labels) != len(videos):
        raise click.UsageError(f"--label: {len(labels)} for {len(videos)} videos; give one for each, or none")
    try:
        defaults = COLOUR if pyramid == "gaussian" else MOTION
        given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        settings = replace(defaults, **given)
        finder = FaceFinder(face_models) if face else None
    except (ValueError, FaceModelsError) as error:
        raise click.ClickException(str(error)) from error
    names = labels or tuple(video.stem for video in videos)
    jobs = [_Job(*each, settings, finder, column_px) for each in zip(videos, targets, names, strict=True)]
    try:
        rows = [row for number, job in enumerate(jobs, 1) if (row := job.run(f"{number}/{len(jobs)}")) is not None]
        if strip is not None and rows:
            _write_strip(rows, settings, strip)
    except OSError as error:
        raise click.ClickException(f"{error.filename2 or out or strip}: can't be written ({error.strerror})") from error
    if len(rows) < len(videos):
        raise click.ClickException(f"{len(videos) - len(rows)} of {len(videos)} videos could not be magnified")


def _targets(videos: tuple[Path, ...], out: Path | None) -> list[Path | None]:
    """The file to write for each video."""
    if out is None:
        return [None] * len(videos)
    if out.suffix.lower() in OTHER_VIDEOS and not out.is_dir():
        raise click.UsageError(f"--out {out}: the output is MP4; use the suffix .mp4")
    if out.suffix.lower() == ".mp4" and not out.is_dir():
        if len(videos) > 1:
            raise click.UsageError(f"--out {out}: one file for {len(videos)} videos; give a folder")
        if out.exists() and videos[0].exists() and out.samefile(videos[0]):
            raise click.UsageError(f"--out {out}: this is the video itself; give another file")
        return [out]
    targets = [out / f"{video.stem}_magnified.mp4" for video in videos]
    for target, count in Counter(targets).items():
        if count > 1:
            raise click.UsageError(f"{target}: {count} videos have this name; magnify them into separate folders")
    return list(targets)


@dataclass(frozen=True)
class _Job:
    """One video to magnify; `target` is None if only the strip is wanted."""

    video: Path
    target: Path | None
    label: str
    settings: MagnifierSettings
    finder: FaceFinder | None
    column_px: int | None

    def run(self, number: str) -> Row | None:
        """Magnifies the video; on failure prints the reason to standard error and returns None."""
        from rich.console import Console
        from rich.progress import track

        from eulernet.datasets.mp4 import write_mp4
        from eulernet.magnification.magnifier import Magnifier
        from eulernet.magnification.strip import Row
        from eulernet.simulation.origin import is_simulated
        from eulernet_core.errors import MediaError
        from eulernet_core.video import announced_frames, frame_rate

        console = Console(stderr=True)
        try:
            count, rate = announced_frames(self.video), frame_rate(self.video)
            row = Row(self.label, float(rate), count, column_px=self.column_px, simulated=is_simulated(self.video))
            magnified = row.watched(self._pairs(Magnifier(self.settings, float(rate))))
            bar: Any = {"total": count, "console": console, "disable": not console.is_terminal}
            shown = track(magnified, f"{number} {self.video.name}", **bar)
            done = sum(1 for _ in shown) if self.target is None else write_mp4(self.target, shown, rate)
        except MediaError as error:
            click.echo(str(error), err=True)
            return None
        except ValueError as error:
            click.echo(f"{self.video}: {error}", err=True)
            return None
        seconds, period = float(done / rate), 1.0 / self.settings.low_hz
        if seconds < period:
            length = f"{seconds:.2f} s are less than one period of {self.settings.low_hz:g} Hz ({period:.2f} s)"
            click.echo(f"{self.video}: {length}: slower changes are magnified little", err=True)
        if self.target is not None:
            click.echo(f"{self.target}  {done} frames, {float(rate):.4g} frames/s")
        return row

    def _pairs(self, magnifier: Any) -> Iterator[tuple[Picture, Picture]]:
        """Each frame, cropped to the face with --face, and the same magnified."""
        from eulernet.datasets.clip_pictures import picture_frames
        from eulernet_core.errors import TooFewFramesError

        region: tuple[slice, slice] | None = None
        count = 0
        for picture in picture_frames(self.video):
            count += 1
            region = region or self._region(picture)
            part = picture[region]
            yield part, magnifier(part)
        if count < 2:
            raise TooFewFramesError(f"{self.video}: {count} frames, needs at least 2")

    def _region(self, picture: Picture) -> tuple[slice, slice]:
        """The rows and columns to magnify."""
        from eulernet_core.limits import FACE_TOO_SMALL

        if self.finder is None:
            return slice(None), slice(None)
        found = self.finder.find(picture)
        if found is None:
            raise ValueError(
                f"no face in its first frame: {FACE_TOO_SMALL}; without --face the whole frame is magnified"
            )
        x0, y0, x1, y1 = (int(edge) for edge in found.box_px)
        return slice(y0, y1 - (y1 - y0) % 2), slice(x0, x1 - (x1 - x0) % 2)  # even sides for H.264


def _write_strip(rows: list[Row], settings: MagnifierSettings, path: Path) -> None:
    from eulernet.magnification.strip import draw_strip

    caption = (
        f"Eulerian video magnification: {settings.pyramid} pyramid, α {settings.alpha:g}, "
        f"{settings.low_hz:g} to {settings.high_hz:g} Hz, λc {settings.wavelength_px:g} px, chroma {settings.chroma:g}"
    )
    draw_strip(rows, caption, path)
    click.echo(str(path))
